/* For LD_PRELOAD into a store: delays fdatasync and fsync while a file exists, and logs each call.
 *
 * A test with SIGKILL cannot detect a reply that left before its data was on disk, because the page
 * cache survives the process. With a slow disk, such a reply leaves before fdatasync returns.
 *
 * FSYNC_LOG: a file with a line "start end size" for each call. Times are seconds of
 * CLOCK_MONOTONIC. `size` is the file's length at the start; all these bytes are on disk at the end.
 * FSYNC_DELAY_FILE: calls are delayed while this file exists.
 * FSYNC_DELAY_MS: the delay before the real call.
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
