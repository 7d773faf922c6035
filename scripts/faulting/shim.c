/* Lets one system call fail: loaded by LD_PRELOAD, counts the calls on files below one folder over all threads and
   processes, and does to the n-th of a kind what scripts/faults.py asks for. The plan lies in a shared file.

   cc -shared -fPIC -O1 -o faults.so shim.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPEN, READ, WRITE, SYNC, RENAME, UNLINK, KINDS };
enum fault { NONE, FAIL, SHORT, KILL };

struct plan {
    long counts[KINDS]; /* calls so far, of each kind */
    long n;             /* the call that is to fail, from 1 */
    int armed, kind, fault, error, fired;
    char folder[PATH_MAX];
};

static struct plan *plan;
static char tracked[1 << 16]; /* descriptors of files below the folder */

__attribute__((constructor)) static void load(void) {
    const char *file = getenv("FAULTS_PLAN");
    if (!file) return;
    int fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *memory = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory != MAP_FAILED) plan = memory;
}

static int is_below(const char *path) {
    size_t length = strlen(plan->folder);
    return !strncmp(path, plan->folder, length) && (path[length] == '/' || !path[length]);
}

static int is_path_below(int folder, const char *path) {
    char whole[2 * PATH_MAX], link[64];
    if (!plan || !plan->armed || !path) return 0;
    if (path[0] == '/') return is_below(path);
    ssize_t length;
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX)) return 0;
        length = strlen(whole);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = readlink(link, whole, PATH_MAX);
        if (length < 0) return 0;
    }
    snprintf(whole + length, PATH_MAX, "/%s", path);
    return is_below(whole);
}

static int is_tracked(int fd) { return plan && plan->armed && fd >= 0 && fd < (int)sizeof tracked && tracked[fd]; }

/* Return what is to be done to this call. */
static enum fault meet(enum kind kind) {
    long number = __sync_add_and_fetch(&plan->counts[kind], 1);
    if (plan->kind != (int)kind || plan->n != number) return NONE;
    plan->fired = 1;
    if (plan->fault == KILL) kill(getpid(), SIGKILL);
    if (plan->fault == FAIL) errno = plan->error;
    return plan->fault;
}


/* The function of the C library behind one of ours. */
#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPENER(name, FOLDER, PARAMETERS, ARGUMENTS)                                                                \
    int name PARAMETERS {                                                                                          \
        REAL(name);                                                                                                \
        mode_t mode = 0;                                                                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                       \
            va_list rest;                                                                                          \
            va_start(rest, flags);                                                                                 \
            mode = va_arg(rest, mode_t);                                                                           \
            va_end(rest);                                                                                          \
        }                                                                                                          \
        int below = is_path_below(FOLDER, path);                                                                   \
        if (below && meet(OPEN) == FAIL) return -1;                                                                \
        int fd = real ARGUMENTS;                                                                                   \
        if (fd >= 0 && fd < (int)sizeof tracked) tracked[fd] = below;                                              \
        return fd;                                                                                                 \
    }
OPENER(open, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPENER(open64, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPENER(openat, folder, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPENER(openat64, folder, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))

/* Calls with a buffer and its size, which may be cut short. */
#define MOVER(name, KIND, PARAMETERS, ARGUMENTS)                                                                   \
    ssize_t name PARAMETERS {                                                                                      \
        REAL(name);                                                                                                \
        if (is_tracked(fd)) {                                                                                      \
            enum fault fault = meet(KIND);                                                                         \
            if (fault == FAIL) return -1;                                                                          \
            if (fault == SHORT && size > 1) size /= 2;                                                             \
        }                                                                                                          \
        return real ARGUMENTS;                                                                                     \
    }
MOVER(read, READ, (int fd, void *buffer, size_t size), (fd, buffer, size))
MOVER(pread, READ, (int fd, void *buffer, size_t size, off_t place), (fd, buffer, size, place))
MOVER(pread64, READ, (int fd, void *buffer, size_t size, off64_t place), (fd, buffer, size, place))
MOVER(write, WRITE, (int fd, const void *buffer, size_t size), (fd, buffer, size))
MOVER(pwrite, WRITE, (int fd, const void *buffer, size_t size, off_t place), (fd, buffer, size, place))
MOVER(pwrite64, WRITE, (int fd, const void *buffer, size_t size, off64_t place), (fd, buffer, size, place))

/* Calls with a list of buffers; cut short, they move half of the first one. */
#define LISTER(name, KIND, PARAMETERS, ARGUMENTS)                                                                  \
    ssize_t name PARAMETERS {                                                                                      \
        REAL(name);                                                                                                \
        struct iovec half;                                                                                         \
        if (is_tracked(fd)) {                                                                                      \
            enum fault fault = meet(KIND);                                                                         \
            if (fault == FAIL) return -1;                                                                          \
            if (fault == SHORT && count > 0 && list[0].iov_len > 1) {                                              \
                half = (struct iovec){list[0].iov_base, list[0].iov_len / 2};                                      \
                list = &half, count = 1;                                                                           \
            }                                                                                                      \
        }                                                                                                          \
        return real ARGUMENTS;                                                                                     \
    }
LISTER(readv, READ, (int fd, const struct iovec *list, int count), (fd, list, count))
LISTER(writev, WRITE, (int fd, const struct iovec *list, int count), (fd, list, count))
LISTER(preadv, READ, (int fd, const struct iovec *list, int count, off_t place), (fd, list, count, place))
LISTER(preadv64, READ, (int fd, const struct iovec *list, int count, off64_t place), (fd, list, count, place))
LISTER(pwritev, WRITE, (int fd, const struct iovec *list, int count, off_t place), (fd, list, count, place))
LISTER(pwritev64, WRITE, (int fd, const struct iovec *list, int count, off64_t place), (fd, list, count, place))

/* Calls that do all or nothing. */
#define DOER(name, KIND, CHECK, PARAMETERS, ARGUMENTS)                                                             \
    int name PARAMETERS {                                                                                          \
        REAL(name);                                                                                                \
        if ((CHECK) && meet(KIND) == FAIL) return -1;                                                              \
        return real ARGUMENTS;                                                                                     \
    }
DOER(fsync, SYNC, is_tracked(fd), (int fd), (fd))
DOER(fdatasync, SYNC, is_tracked(fd), (int fd), (fd))
DOER(ftruncate, WRITE, is_tracked(fd), (int fd, off_t size), (fd, size))
DOER(ftruncate64, WRITE, is_tracked(fd), (int fd, off64_t size), (fd, size))
DOER(rename, RENAME, is_path_below(AT_FDCWD, to), (const char *from, const char *to), (from, to))
DOER(renameat, RENAME, is_path_below(there, to), (int here, const char *from, int there, const char *to),
     (here, from, there, to))
DOER(unlink, UNLINK, is_path_below(AT_FDCWD, path), (const char *path), (path))
DOER(unlinkat, UNLINK, is_path_below(folder, path), (int folder, const char *path, int flags), (folder, path, flags))
DOER(rmdir, UNLINK, is_path_below(AT_FDCWD, path), (const char *path), (path))

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < (int)sizeof tracked) tracked[fd] = 0;
    return real(fd);
}
