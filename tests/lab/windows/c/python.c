/* python.exe and pythonw.exe: what the official ones are, a main that calls the DLL beside them. */
#include <windows.h>

typedef int (*entry)(int, wchar_t **);

static int run(int count, wchar_t **arguments) {
    HMODULE library = LoadLibraryW(LIBRARY);
    entry Py_Main = library ? (entry)(void *)GetProcAddress(library, "Py_Main") : NULL;
    return Py_Main ? Py_Main(count, arguments) : 103;
}

#ifdef WINDOWED
int WINAPI wWinMain(HINSTANCE self, HINSTANCE before, PWSTR line, int show) {
    (void)self, (void)before, (void)line, (void)show;
    return run(__argc, __wargv);
}
#else
int wmain(int count, wchar_t **arguments) { return run(count, arguments); }
#endif
