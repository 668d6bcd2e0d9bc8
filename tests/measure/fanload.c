/* fanload: many readers on one machine.
 *
 * Opens N reader connections (WebSocket, or Server-Sent Events with -s) to a push server, and reports what each reader got and how late.
 * A mark is "lbns" followed by digits: the wall clock in nanoseconds at which an entry was published. A message with a mark counts;
 * a message with several marks has several entries.
 * Marks grow: a repeated mark is an entry delivered twice, and a smaller mark an entry out of order.
 * In liveblog's frames fanload also checks the chain: `from` is the offset of the previous position.
 * One thread, epoll, no dependencies:  cc -O2 -o fanload fanload.c
 *
 *   -H host (127.0.0.1)  -p port  -u path  -n readers  -c handshakes in flight (512)  -i source addresses 127.0.0.2.. (1; each gives 28,000 ports)
 *   -d seconds to stay after all are connected (10)  -e stop once every reader has this many entries  -S number of readers that stall until SIGUSR1
 *   -s SSE  -z offer permessage-deflate  -x "Header: value"  -q do not answer pings
 *
 * Prints READY on stderr when all readers are connected, one line of key=value on stdout at the end, and a line per close code.
 * Exit 0. It connects to the given host only, and stops by itself.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTING, HANDSHAKING, OPEN, GONE };
typedef struct {
    int fd, state, stalled;
    uint32_t len, cap, marked;
    int64_t mark, offset;
    uint8_t *buf;
} reader;

static reader *R;
static int n_readers = 1000, sse, offer_deflate, n_stalled, mute, in_flight = 512, source_ips = 1, port = 8000;
static const char *host = "127.0.0.1", *path = "/", *extra = "";
static double stay_s = 10;
static long expected;
static int ep, n_open, n_failed, n_closed;
static uint64_t marked, unmarked, frames, bytes, compressed, repeated, disordered, unchained, closes[5000];
static int64_t *late, first_ns, last_ns;
static size_t n_late, cap_late = 1 << 25;
static volatile sig_atomic_t stop, resume;

static int64_t clock_ns(clockid_t c) { struct timespec t; clock_gettime(c, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
static void on_signal(int s) { if (s == SIGUSR1) resume = 1; else stop = 1; }
static int by_value(const void *a, const void *b) { int64_t x = *(int64_t *)a, y = *(int64_t *)b; return x < y ? -1 : x > y; }

static void drop(reader *r)
{
    if (r->fd < 0) return;
    close(r->fd);
    r->fd = -1;
    if (r->state == OPEN) n_closed++, n_open--; else n_failed++;
    r->state = GONE;
}

static void handshake(reader *r)
{
    char b[2048];
    int k = sse ? snprintf(b, sizeof b, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\n%s\r\n", path, host, port, extra)
                : snprintf(b, sizeof b, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://%s:%d\r\n%s%s\r\n",
                           path, host, port, host, port, offer_deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "", extra);
    if (write(r->fd, b, k) != k) drop(r);
}

static int64_t number(uint8_t *p, uint8_t *end)
{
    int64_t v = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) v = v * 10 + *p - '0';
    return v;
}

static void chain(reader *r, uint8_t *p, size_t n)
{
    uint8_t *end = p + n, *from = memmem(p, n < 100 ? n : 100, "\"from\":", 7), *at = memmem(p, n < 200 ? n : 200, "\"position\":\"", 12);
    uint8_t *dot = at ? memchr(at + 12, '.', end - at - 12) : 0;
    if (!from || !dot) return;
    unchained += r->offset && number(from + 7, end) != r->offset;
    r->offset = number(dot + 1, end);
}

static void on_message(reader *r, uint8_t *p, size_t n, int64_t now, int is_compressed)
{
    bytes += n;
    compressed += is_compressed;
    uint8_t *end = p + n, *q = memmem(p, n, "lbns", 4);
    if (!q && !is_compressed) { unmarked++; return; }
    frames++;
    if (!first_ns) first_ns = clock_ns(CLOCK_MONOTONIC);
    last_ns = clock_ns(CLOCK_MONOTONIC);
    if (!q) { marked++, r->marked++; return; }
    chain(r, p, n);
    for (int64_t same = 0; q; q = memmem(q, end - q, "lbns", 4)) {
        int64_t v = number(q += 4, end);
        if (v == same) continue; /* the same entry, a second time in one message */
        same = v, marked++, r->marked++;
        repeated += v == r->mark, disordered += v < r->mark, r->mark = v;
        if (r - R >= n_stalled && v > 1000000000000000000LL && n_late < cap_late) late[n_late++] = now - v;
    }
}

static void parse(reader *r)
{
    int64_t now = clock_ns(CLOCK_REALTIME);
    if (r->state == HANDSHAKING) {
        uint8_t *e = memmem(r->buf, r->len, "\r\n\r\n", 4);
        if (!e) return;
        if (memcmp(r->buf, sse ? "HTTP/1.1 200" : "HTTP/1.1 101", 12)) {
            if (n_failed < 3) fprintf(stderr, "refused: %.*s\n", 120, r->buf);
            drop(r);
            return;
        }
        r->state = OPEN, n_open++;
        size_t k = e + 4 - r->buf;
        memmove(r->buf, r->buf + k, r->len - k), r->len -= k;
    }
    size_t o = 0;
    if (sse) {
        uint8_t *e;
        while ((e = memmem(r->buf + o, r->len - o, "\n\n", 2))) {
            if (memmem(r->buf + o, e - (r->buf + o), "data:", 5)) on_message(r, r->buf + o, e - (r->buf + o), now, 0);
            o = e + 2 - r->buf;
        }
    } else {
        while (r->len - o >= 2) {
            uint8_t *p = r->buf + o;
            uint64_t l = p[1] & 127;
            int h = 2, op = p[0] & 15;
            if (l == 126) { if (r->len - o < 4) break; l = p[2] << 8 | p[3], h = 4; }
            else if (l == 127) { if (r->len - o < 10) break; l = 0; for (int i = 0; i < 8; i++) l = l << 8 | p[2 + i]; h = 10; }
            if (r->len - o < h + l) break;
            if (op <= 2) on_message(r, p + h, l, now, p[0] >> 6 & 1);
            else if (op == 9 && !mute) {
                uint8_t f[140] = {0x8a, 0x80 | l};
                memcpy(f + 6, p + h, l);
                if (write(r->fd, f, 6 + l) < 0) { drop(r); return; }
            } else if (op == 8) { closes[(l >= 2 ? p[h] << 8 | p[h + 1] : 0) % 5000]++; drop(r); return; }
            o += h + l;
        }
    }
    memmove(r->buf, r->buf + o, r->len - o), r->len -= o;
    if (!r->len && r->cap > 4096) free(r->buf), r->buf = 0, r->cap = 0;
}

static void readable(reader *r)
{
    while (r->fd >= 0) {
        if (r->cap - r->len < 2048) r->cap = r->cap ? r->cap * 2 : 4096, r->buf = realloc(r->buf, r->cap);
        ssize_t k = read(r->fd, r->buf + r->len, r->cap - r->len);
        if (k <= 0) { if (k == 0 || errno != EAGAIN) drop(r); return; }
        r->len += k;
        parse(r);
        if (k < 2048) return;
    }
}

static void start(int i, struct sockaddr_in *to)
{
    reader *r = R + i;
    int one = 1, small = 2048;
    if ((r->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) { perror("socket"); exit(1); }
    if (source_ips > 1) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + i % source_ips)};
        setsockopt(r->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(r->fd, (void *)&from, sizeof from)) perror("bind");
    }
    if (i < n_stalled) r->stalled = 1, setsockopt(r->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(r->fd, (void *)to, sizeof *to) < 0 && errno != EINPROGRESS) { drop(r); return; }
    struct epoll_event e = {.events = EPOLLOUT, .data.u32 = i};
    epoll_ctl(ep, EPOLL_CTL_ADD, r->fd, &e);
}

int main(int ac, char **av)
{
    for (int o; (o = getopt(ac, av, "H:p:u:n:c:i:d:e:S:szx:q")) > 0;) switch (o) {
        case 'H': host = optarg; break;      case 'p': port = atoi(optarg); break;      case 'u': path = optarg; break;
        case 'n': n_readers = atoi(optarg); break; case 'c': in_flight = atoi(optarg); break; case 'i': source_ips = atoi(optarg); break;
        case 'd': stay_s = atof(optarg); break; case 'e': expected = atol(optarg); break; case 'S': n_stalled = atoi(optarg); break;
        case 's': sse = 1; break; case 'z': offer_deflate = 1; break; case 'q': mute = 1; break;
        case 'x': { char *b = malloc(strlen(optarg) + 3); sprintf(b, "%s\r\n", optarg); extra = b; break; }
        default: return 2;
    }
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl), rl.rlim_cur = rl.rlim_max, setrlimit(RLIMIT_NOFILE, &rl);
    signal(SIGINT, on_signal), signal(SIGTERM, on_signal), signal(SIGUSR1, on_signal), signal(SIGPIPE, SIG_IGN);
    R = calloc(n_readers, sizeof *R), late = malloc(cap_late * 8), ep = epoll_create1(0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    struct epoll_event ev[512];
    int64_t t0 = clock_ns(CLOCK_MONOTONIC), ready = 0;
    int started = 0;
    while (!stop) {
        int64_t t = clock_ns(CLOCK_MONOTONIC);
        while (started < n_readers && started - n_open - n_failed - n_closed < in_flight) start(started++, &to);
        int k = epoll_wait(ep, ev, 512, 20);
        for (int i = 0; i < k; i++) {
            reader *r = R + ev[i].data.u32;
            if (r->fd < 0) continue;
            if (r->state == CONNECTING) {
                if (ev[i].events & (EPOLLERR | EPOLLHUP)) { drop(r); continue; }
                r->state = HANDSHAKING;
                handshake(r);
                struct epoll_event e = {.events = EPOLLIN, .data.u32 = ev[i].data.u32};
                if (r->fd >= 0) epoll_ctl(ep, EPOLL_CTL_MOD, r->fd, &e);
            } else {
                readable(r);
                if (r->stalled && r->state == OPEN && r->fd >= 0) epoll_ctl(ep, EPOLL_CTL_DEL, r->fd, 0);
            }
        }
        if (!ready && ((started == n_readers && n_open + n_failed + n_closed >= n_readers) || t - t0 > 90000000000LL)) {
            ready = clock_ns(CLOCK_MONOTONIC);
            marked = unmarked = frames = bytes = compressed = n_late = 0, first_ns = last_ns = 0;
            for (int i = 0; i < n_readers; i++) R[i].marked = 0;
            fprintf(stderr, "READY open=%d failed=%d closed=%d connect_s=%.3f accepts_per_s=%.0f\n", n_open, n_failed, n_closed, (ready - t0) / 1e9, n_open / ((ready - t0) / 1e9));
        }
        if (resume) {
            resume = 0;
            for (int i = 0; i < n_stalled; i++) if (R[i].fd >= 0) {
                struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
                R[i].stalled = 0;
                epoll_ctl(ep, EPOLL_CTL_ADD, R[i].fd, &e);
            }
        }
        if (ready && t - ready > stay_s * 1e9) break;
        if (ready && expected && n_open > n_stalled && marked >= (uint64_t)expected * (n_open - n_stalled)) break;
    }
    qsort(late, n_late, 8, by_value);
    uint32_t least = UINT32_MAX, most = 0;
    for (int i = 0; i < n_readers; i++) if (R[i].state == OPEN && !R[i].stalled) {
        if (R[i].marked < least) least = R[i].marked;
        if (R[i].marked > most) most = R[i].marked;
    }
    int64_t bottom = INT64_MAX, top = 0;
    for (int i = 0; i < n_readers; i++) if (R[i].state == OPEN && !R[i].stalled) {
        if (R[i].offset < bottom) bottom = R[i].offset;
        if (R[i].offset > top) top = R[i].offset;
    }
    printf("open=%d failed=%d closed=%d delivered=%lu least=%u most=%u frames=%lu other=%lu compressed=%lu repeated=%lu disordered=%lu unchained=%lu bottom=%ld top=%ld bytes=%lu span_s=%.3f per_s=%.0f", n_open, n_failed, n_closed, marked,
           least == UINT32_MAX ? 0 : least, most, frames, unmarked, compressed, repeated, disordered, unchained, bottom, top, bytes, (last_ns - first_ns) / 1e9, last_ns > first_ns ? marked / ((last_ns - first_ns) / 1e9) : 0);
    if (n_late) printf(" p50_ms=%.2f p90_ms=%.2f p99_ms=%.2f max_ms=%.2f", late[n_late / 2] / 1e6, late[n_late * 9 / 10] / 1e6, late[n_late * 99 / 100] / 1e6, late[n_late - 1] / 1e6);
    puts("");
    for (int i = 0; i < 5000; i++) if (closes[i]) printf("close_%d=%lu\n", i, closes[i]);
    return 0;
}
