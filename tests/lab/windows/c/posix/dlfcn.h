/* The little of POSIX that simgpu.c needs and mingw does not have. */
#include <stdio.h>
#include <windows.h>

#undef TEXT
/* "e" keeps a file from children on Linux; here none inherit it, and the mode is unknown. */
#define fopen(path, mode) fopen(path, "r")

typedef struct {
    const char *dli_fname;
} Dl_info;

/* The path of the DLL itself, with slashes. */
static int dladdr(void *address, Dl_info *info) {
    static char path[MAX_PATH];
    HMODULE self;
    DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    if (!GetModuleHandleExA(flags, address, &self)) return 0;
    GetModuleFileNameA(self, path, sizeof path);
    for (char *c = path; *c; c++)
        if (*c == '\\') *c = '/';
    info->dli_fname = path;
    return 1;
}
