/* nvidia-smi.exe as far as scripts use it: its table's head, or driver_version and name as CSV. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static HMODULE nvml;

static int ask(const char *name, void *a, void *b, unsigned length) {
    int (*function)(void *, void *, unsigned) = (void *)GetProcAddress(nvml, name);
    return function ? function(a, b, length) : 13;
}

static int fail(int code) {
    const char *(*text)(int) = (void *)GetProcAddress(nvml, "nvmlErrorString");
    printf("Failed to initialize NVML: %s\n", text(code));
    return code;
}

int wmain(int count, wchar_t **arguments) {
    char driver[96] = "", name[96] = "";
    int cuda = 0, code;
    unsigned gpus = 0;
    void *gpu = NULL;
    nvml = LoadLibraryA("nvml.dll");
    if (!nvml) return printf("NVIDIA-SMI couldn't find nvml.dll library in your system.\n"), 12;
    if ((code = ask("nvmlInit_v2", NULL, NULL, 0))) return fail(code);
    ask("nvmlSystemGetDriverVersion", driver, (void *)sizeof driver, 0);
    ask("nvmlSystemGetCudaDriverVersion", &cuda, NULL, 0);
    ask("nvmlDeviceGetCount_v2", &gpus, NULL, 0);
    if (!gpus) return printf("No devices were found\n"), 6;
    if (count > 1 && !wcsncmp(arguments[1], L"--query-gpu", 11)) {
        int (*handle)(unsigned, void **) = (void *)GetProcAddress(nvml, "nvmlDeviceGetHandleByIndex_v2");
        for (unsigned index = 0; index < gpus; index++) {
            handle(index, &gpu);
            ask("nvmlDeviceGetName", gpu, name, sizeof name);
            printf("%s, %s\n", driver, name);
        }
        return 0;
    }
    printf("| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %d.%-5d |\n", driver, driver, cuda / 1000,
           cuda % 1000 / 10);
    return 0;
}
