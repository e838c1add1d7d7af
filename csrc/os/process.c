/* process.c - facts about a process that no structure of CPython tells.
 *
 * Folders of /proc are read with getdents64, not with opendir(), which would take a block from the malloc that is
 * measured. */
#define _GNU_SOURCE
#include "process.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>

mi_error mi_process_entries(pid_t pid, const char *name, size_t *count) {
    char path[64];
    _Alignas(uint64_t) char entries[4096];
    snprintf(path, sizeof path, "/proc/%d/%s", pid ? (int)pid : (int)getpid(), name);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno == EACCES || errno == EPERM ? MI_E_PERMISSION : errno == ENOENT ? MI_E_GONE : MI_E_OS;
    size_t found = 0;
    long got;
    while ((got = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0) {
        for (long at = 0; at < got;) { /* struct linux_dirent64: two words, then the length of the entry */
            uint16_t length;
            memcpy(&length, entries + at + 16, sizeof length);
            found++;
            at += length;
        }
    }
    close(fd);
    if (got < 0) return MI_E_OS;
    *count = found >= 2 ? found - 2 : 0;
    return MI_OK;
}

int mi_process_dumpable(void) { return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0); }
#else
mi_error mi_process_entries(pid_t pid, const char *name, size_t *count) {
    (void)pid;
    (void)name;
    (void)count;
    return MI_E_ABSENT;
}

int mi_process_dumpable(void) { return -1; }
#endif

void mi_process_libc(char *to, size_t size) {
    const char *(*version)(void);
    *(void **)&version = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
    snprintf(to, size, "%s%s", version ? "glibc " : "unknown", version ? version() : "");
}

void mi_process_kernel(char *to, size_t size) {
    struct utsname name;
    snprintf(to, size, "%s", uname(&name) == 0 ? name.release : "unknown");
}

long mi_process_clock_ticks(void) { return sysconf(_SC_CLK_TCK); }
