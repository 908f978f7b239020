/* A simulated NVIDIA driver: enough of libcuda (-DSIM_CUDA) and NVML (-DSIM_NVML) for discovery only.
 *
 * Real TensorFlow lists a GPU through it; no kernel ever runs. Faults come from simgpu.conf beside the
 * library, read again at every init, so that a child with a cleaned environment sees the same machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define TEXT 96
#define SLOTS 64

struct settings {
    int gpus, major, minor, cuda, cuinit, nvml;
    unsigned long long memory;
    char name[TEXT], driver[TEXT], hang[TEXT], crash[TEXT];
};

static struct settings sim;
static int ready;

static void assign(const char *key, const char *value) {
    if (!strcmp(key, "gpus")) sim.gpus = atoi(value);
    else if (!strcmp(key, "name")) snprintf(sim.name, TEXT, "%s", value);
    else if (!strcmp(key, "compute_capability")) sscanf(value, "%d.%d", &sim.major, &sim.minor);
    else if (!strcmp(key, "memory_mib")) sim.memory = strtoull(value, NULL, 10) << 20;
    else if (!strcmp(key, "driver")) snprintf(sim.driver, TEXT, "%s", value);
    else if (!strcmp(key, "cuda")) sim.cuda = atoi(value);
    else if (!strcmp(key, "cuinit")) sim.cuinit = atoi(value);
    else if (!strcmp(key, "nvml")) sim.nvml = atoi(value);
    else if (!strcmp(key, "hang")) snprintf(sim.hang, TEXT, "%s", value);
    else if (!strcmp(key, "crash")) snprintf(sim.crash, TEXT, "%s", value);
}

static void load(void) {
    static const struct settings healthy = {1, 8, 6, 12020, 0, 0, 8192ULL << 20,
                                            "NVIDIA Simulated GPU", "535.183.01", "none", "none"};
    char path[4096], line[512];
    Dl_info self;
    FILE *file = NULL;
    sim = healthy;
    ready = 1;
    if (dladdr((void *)load, &self) && self.dli_fname) {
        const char *slash = strrchr(self.dli_fname, '/');
        int folder = slash ? (int)(slash - self.dli_fname) + 1 : 0;
        snprintf(path, sizeof path, "%.*ssimgpu.conf", folder, self.dli_fname);
        file = fopen(path, "re");
    }
    while (file && fgets(line, sizeof line, file)) {
        char *equals = strchr(line, '=');
        line[strcspn(line, "\r\n")] = 0;
        if (!equals || line[0] == '#') continue;
        *equals = 0;
        assign(line, equals + 1);
    }
    if (file) fclose(file);
    if (sim.gpus > SLOTS) sim.gpus = SLOTS;
}

static void enter(const char *library) {
    load();
    while (!strcmp(sim.hang, library)) sleep(3600);
    if (!strcmp(sim.crash, library)) abort();
}

static void copy(char *to, const char *from, unsigned length) {
    if (to && length) snprintf(to, length, "%s", from);
}

/* Real devices sit on different buses, and PCI ids are compared as text: 0000:01:00.0, 0000:02:00.0 … */
static void bus_id(char *to, unsigned length, int device, int wide) {
    if (to) snprintf(to, length, wide ? "%08X:%02X:00.0" : "%04X:%02X:00.0", 0, device + 1);
}

#ifdef SIM_CUDA

enum { OK = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101 };

static const struct {
    int code;
    const char *name, *text;
} results[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
    {36, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {303, "CUDA_ERROR_SHARED_OBJECT_INIT_FAILED", "shared object initialization failed"},
    {304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", "forward compatibility was attempted on non supported HW"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static int started;

static int check(int device) {
    if (!started) return NOT_INITIALIZED;
    return device >= 0 && device < sim.gpus ? OK : INVALID_DEVICE;
}

/* CUDA_VISIBLE_DEVICES hides GPUs from CUDA, not from NVML: a plain list of numbers is read up to the
   first that does not exist, so empty or -1 hides them all. */
static void mask(void) {
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    int shown = 0;
    if (!list) return;
    while (*list) {
        char *end;
        long number = strtol(list, &end, 10);
        if (end == list || number < 0 || number >= sim.gpus) break;
        shown++;
        list = *end == ',' ? end + 1 : end;
    }
    sim.gpus = shown;
}

EXPORT int cuInit(unsigned flags) {
    (void)flags;
    enter("cuda");
    mask();
    if (sim.cuinit) return sim.cuinit;
    if (sim.gpus <= 0) return NO_DEVICE;
    started = 1;
    return OK;
}

EXPORT int cuDriverGetVersion(int *version) {
    if (!ready) load(); /* legal before cuInit */
    *version = sim.cuda;
    return OK;
}

EXPORT int cuDeviceGetCount(int *count) {
    *count = sim.gpus;
    return started ? OK : NOT_INITIALIZED;
}

EXPORT int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return check(ordinal);
}

EXPORT int cuDeviceGetName(char *name, int length, int device) {
    copy(name, sim.name, (unsigned)length);
    return check(device);
}

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? sim.major : attribute == 76 ? sim.minor : 0;
    return check(device);
}

EXPORT int cuDeviceComputeCapability(int *major, int *minor, int device) {
    *major = sim.major;
    *minor = sim.minor;
    return check(device);
}

EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = sim.memory;
    return check(device);
}

EXPORT int cuDeviceGetPCIBusId(char *text, int length, int device) {
    bus_id(text, (unsigned)length, device, 0);
    return check(device);
}

EXPORT int cuDeviceGetUuid(char *uuid, int device) {
    memset(uuid, 0, 16);
    uuid[15] = (char)(device + 1);
    return check(device);
}

EXPORT int cuDeviceGetUuid_v2(char *uuid, int device) { return cuDeviceGetUuid(uuid, device); }

static int describe(int code, const char **text, int want_name) {
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (results[i].code == code) {
            *text = want_name ? results[i].name : results[i].text;
            return OK;
        }
    *text = NULL;
    return INVALID_VALUE;
}

EXPORT int cuGetErrorName(int code, const char **text) { return describe(code, text, 1); }
EXPORT int cuGetErrorString(int code, const char **text) { return describe(code, text, 0); }

#endif
#ifdef SIM_NVML

/* An NVML handle is the address of its device's slot. */
static char slots[SLOTS];

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

static int users;

static int check(void *handle) {
    if (!users) return UNINITIALIZED;
    return (char *)handle >= slots && (char *)handle < slots + sim.gpus ? OK : INVALID_ARGUMENT;
}

static int ordinal(void *handle) { return (int)((char *)handle - slots); }

EXPORT int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    enter("nvml");
    if (!sim.nvml) users++;
    return sim.nvml;
}

EXPORT int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
EXPORT int nvmlInit(void) { return nvmlInitWithFlags(0); }

EXPORT int nvmlShutdown(void) {
    if (!users) return UNINITIALIZED;
    users--;
    return OK;
}

EXPORT const char *nvmlErrorString(int code) {
    switch (code) {
    case 0: return "Success";
    case 1: return "Uninitialized";
    case 2: return "Invalid Argument";
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 6: return "Not Found";
    case 9: return "Driver Not Loaded";
    case 10: return "Timeout";
    case 12: return "NVML Shared Library Not Found";
    case 15: return "GPU is lost";
    case 16: return "GPU requires reset";
    case 17: return "GPU access blocked by the operating system";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

EXPORT int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    copy(text, sim.driver, length);
    return users ? OK : UNINITIALIZED;
}

EXPORT int nvmlSystemGetNVMLVersion(char *text, unsigned length) {
    char version[TEXT + 16];
    snprintf(version, sizeof version, "%d.%s", sim.cuda / 1000, sim.driver);
    copy(text, version, length);
    return users ? OK : UNINITIALIZED;
}

EXPORT int nvmlSystemGetCudaDriverVersion(int *version) {
    if (!ready) load();
    *version = sim.cuda;
    return OK;
}

EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

EXPORT int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)sim.gpus;
    return users ? OK : UNINITIALIZED;
}

EXPORT int nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = slots + index;
    return check(*handle);
}

EXPORT int nvmlDeviceGetHandleByIndex(unsigned index, void **handle) {
    return nvmlDeviceGetHandleByIndex_v2(index, handle);
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *text, void **handle) {
    unsigned domain, bus;
    if (!users) return UNINITIALIZED;
    if (sscanf(text, "%x:%x", &domain, &bus) != 2) return INVALID_ARGUMENT;
    if (!bus || bus > (unsigned)sim.gpus) return NOT_FOUND;
    *handle = slots + bus - 1;
    return OK;
}

EXPORT int nvmlDeviceGetHandleByPciBusId(const char *text, void **handle) {
    return nvmlDeviceGetHandleByPciBusId_v2(text, handle);
}

EXPORT int nvmlDeviceGetIndex(void *handle, unsigned *index) {
    *index = (unsigned)ordinal(handle);
    return check(handle);
}

EXPORT int nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    copy(text, sim.name, length);
    return check(handle);
}

EXPORT int nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    char uuid[TEXT];
    snprintf(uuid, sizeof uuid, "GPU-00000000-0000-0000-0000-%012d", ordinal(handle) + 1);
    copy(text, uuid, length);
    return check(handle);
}

EXPORT int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    *major = sim.major;
    *minor = sim.minor;
    return check(handle);
}

/* Half a GiB counts as in use, as a desktop would take. */
static const unsigned long long used = 512ULL << 20;

struct memory { unsigned long long total, free, used; };

EXPORT int nvmlDeviceGetMemoryInfo(void *handle, struct memory *info) {
    *info = (struct memory){sim.memory, sim.memory - used, used};
    return check(handle);
}

struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };

EXPORT int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *info) {
    *info = (struct memory_v2){info->version, sim.memory, 0, sim.memory - used, used};
    return check(handle);
}

struct utilization { unsigned gpu, memory; };

EXPORT int nvmlDeviceGetUtilizationRates(void *handle, struct utilization *rates) {
    *rates = (struct utilization){0, 0};
    return check(handle);
}

EXPORT int nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *celsius) {
    (void)sensor;
    *celsius = 40;
    return check(handle);
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, void *infos) {
    (void)infos;
    *count = 0;
    return check(handle);
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *count, void *infos) {
    return nvmlDeviceGetComputeRunningProcesses_v3(handle, count, infos);
}

EXPORT int nvmlDeviceGetCurrPcieLinkGeneration(void *handle, unsigned *value) {
    *value = 4;
    return check(handle);
}

EXPORT int nvmlDeviceGetCurrPcieLinkWidth(void *handle, unsigned *value) {
    *value = 16;
    return check(handle);
}

/* TensorFlow 2.21 calls all of NVML unusable where these names are missing. */
EXPORT int nvmlDeviceGetGpuFabricInfoV(void) { return NOT_SUPPORTED; }
EXPORT int nvmlDeviceGetNvLinkCapability(void) { return NOT_SUPPORTED; }
EXPORT int nvmlDeviceGetNvLinkState(void) { return NOT_SUPPORTED; }

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char text[32]; };

EXPORT int nvmlDeviceGetPciInfo_v3(void *handle, struct pci *info) {
    *info = (struct pci){.bus = (unsigned)ordinal(handle) + 1};
    bus_id(info->legacy, sizeof info->legacy, ordinal(handle), 0);
    bus_id(info->text, sizeof info->text, ordinal(handle), 1);
    return check(handle);
}

#endif
