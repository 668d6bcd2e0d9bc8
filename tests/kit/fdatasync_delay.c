/* Preloaded into a store: fdatasync and fsync take longer while a file exists, and are logged.
 *
 * SIGKILL cannot show that a reply came before its data was on disk, since the page cache survives
 * the process. A slow disk can: whatever leaves the store before the delayed call returns, left it
 * too early.
 *
 * FSYNC_LOG: one line a call, "start end size": seconds of CLOCK_MONOTONIC, and the file's bytes
 * when the call began, which are on disk when it has ended. FSYNC_DELAY_FILE: calls are delayed while it exists. FSYNC_DELAY_MS: for how long, before the real call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void delay(void) {
    const char *file = getenv("FSYNC_DELAY_FILE"), *ms = getenv("FSYNC_DELAY_MS");
    if (!file || !ms || access(file, F_OK) != 0) return;
    struct timespec t = {atol(ms) / 1000, atol(ms) % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static void note(double start, double end, off_t size) {
    const char *path = getenv("FSYNC_LOG");
    int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0) return;
    char line[96];
    int length = snprintf(line, sizeof line, "%.9f %.9f %lld\n", start, end, (long long)size);
    if (write(fd, line, (size_t)length) != length) abort();
    close(fd);
}

static int delayed(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat file;
    off_t size = fstat(fd, &file) ? 0 : file.st_size;
    double start = now();
    delay();
    int result = real(fd);
    note(start, now(), size);
    return result;
}

int fdatasync(int fd) { return delayed("fdatasync", fd); }

int fsync(int fd) { return delayed("fsync", fd); }
