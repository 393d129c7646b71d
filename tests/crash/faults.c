/* Preloaded into a command: counts the calls that change something under a folder, and disturbs the n-th.
 *
 * errno 0 kills the process, in the middle of a write after half of it; ENOSPC fails the n-th call and all that take
 * room after it; any other errno fails the n-th call alone. Nothing is counted before faults_arm. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static int log_fd = -1, error;
static long aim;
static atomic_long count;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

void faults_arm(const char *path, const char *log, long n, int number) {
    snprintf(folder, sizeof folder, "%s/", path);
    aim = n;
    error = number;
    log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
}

/* What a call does: TAKES needs room on the disk, MAKES may, FREES never does. */
enum kind { TAKES, FREES };

/* 1: the call is to fail, errno is set; 0: go on. */
static int point(const char *call, enum kind kind, const char *path) {
    static __typeof__(&write) real_write;
    if (log_fd < 0 || strncmp(path, folder, strlen(folder))) return 0;
    if (error == ENOSPC && kind == FREES) return 0;
    if (!real_write) real_write = (__typeof__(&write))dlsym(RTLD_NEXT, "write");
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path + strlen(folder));
    real_write(log_fd, line, length);
    long now = ++count;
    if (now == aim || (aim && error == ENOSPC && now > aim)) {
        errno = error;
        return 1;
    }
    return 0;
}

static int fails(const char *call, enum kind kind, const char *path) {
    int due = point(call, kind, path);
    if (due && !error) kill(getpid(), SIGKILL);
    return due;
}

static const char *of_descriptor(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = log_fd < 0 ? -1 : readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

static const char *of_name(int at, const char *name, char *path) {
    char base[PATH_MAX];
    if (name[0] == '/' || log_fd < 0) {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        if (at == AT_FDCWD) { if (!getcwd(base, sizeof base)) base[0] = 0; }
        else of_descriptor(at, base);
        snprintf(path, PATH_MAX, "%s/%s", base, name);
    }
    return path;
}

#define ON_DESCRIPTOR(result, name, parameters, arguments, half) \
    result name parameters { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (point(#name, TAKES, of_descriptor(fd, path))) { \
            if (error) return -1; \
            half; \
            kill(getpid(), SIGKILL); \
        } \
        return real arguments; \
    }

ON_DESCRIPTOR(ssize_t, write, (int fd, const void *data, size_t n), (fd, data, n), real(fd, data, n / 2))
ON_DESCRIPTOR(ssize_t, pwrite, (int fd, const void *data, size_t n, off_t at), (fd, data, n, at), real(fd, data, n / 2, at))
ON_DESCRIPTOR(ssize_t, pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at), real(fd, data, n / 2, at))
ON_DESCRIPTOR(ssize_t, writev, (int fd, const struct iovec *parts, int n), (fd, parts, n), real(fd, parts, n / 2))
ON_DESCRIPTOR(int, fsync, (int fd), (fd), )
ON_DESCRIPTOR(int, fdatasync, (int fd), (fd), )
ON_DESCRIPTOR(int, ftruncate, (int fd, off_t n), (fd, n), )
ON_DESCRIPTOR(int, ftruncate64, (int fd, off64_t n), (fd, n), )

#define CHANGES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))

#define OPEN(name) \
    int name(const char *file, int flags, ...) { \
        REAL(name); \
        char path[PATH_MAX]; \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if (CHANGES(flags) && fails("open", TAKES, of_name(AT_FDCWD, file, path))) return -1; \
        return real(file, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int at, const char *file, int flags, ...) { \
        REAL(name); \
        char path[PATH_MAX]; \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if (CHANGES(flags) && fails("open", TAKES, of_name(at, file, path))) return -1; \
        return real(at, file, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *file, const char *mode) { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (strpbrk(mode, "wa+") && fails("open", TAKES, of_name(AT_FDCWD, file, path))) return NULL; \
        return real(file, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

int rename(const char *from, const char *to) {
    REAL(rename);
    char path[PATH_MAX];
    return fails("rename", FREES, of_name(AT_FDCWD, to, path)) ? -1 : real(from, to);
}

int renameat(int at, const char *from, int there, const char *to) {
    REAL(renameat);
    char path[PATH_MAX];
    return fails("rename", FREES, of_name(there, to, path)) ? -1 : real(at, from, there, to);
}

int mkdir(const char *name, mode_t mode) {
    REAL(mkdir);
    char path[PATH_MAX];
    return fails("mkdir", TAKES, of_name(AT_FDCWD, name, path)) ? -1 : real(name, mode);
}

int unlink(const char *name) {
    REAL(unlink);
    char path[PATH_MAX];
    return fails("unlink", FREES, of_name(AT_FDCWD, name, path)) ? -1 : real(name);
}

int unlinkat(int at, const char *name, int flags) {
    REAL(unlinkat);
    char path[PATH_MAX];
    return fails("unlink", FREES, of_name(at, name, path)) ? -1 : real(at, name, flags);
}

int rmdir(const char *name) {
    REAL(rmdir);
    char path[PATH_MAX];
    return fails("rmdir", FREES, of_name(AT_FDCWD, name, path)) ? -1 : real(name);
}
