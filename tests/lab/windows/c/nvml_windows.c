/* What NVML has on Windows alone. */

/* WDDM is 0, as on every GeForce; TCC would be 1. */
int nvmlDeviceGetDriverModel(void *handle, int *current, int *pending) {
    (void)handle;
    *current = *pending = 0;
    return 0;
}
