/* A venv's Scripts\python.exe: as CPython's, it starts the base interpreter of pyvenv.cfg as a child,
   tells it by __PYVENV_LAUNCHER__ where it is at home, and ends with its exit code. */
#include <stdio.h>
#include <windows.h>

#define LONG 4096

static void fail(const char *what) {
    fprintf(stderr, "venvlauncher: %s\n", what);
    ExitProcess(101);
}

/* Reads `home = FOLDER` of the pyvenv.cfg above the launcher's folder, which is in UTF-8. */
static void home(const wchar_t *self, wchar_t *folder) {
    wchar_t path[LONG];
    char line[LONG], value[LONG];
    FILE *file;
    wcscpy(path, self);
    *wcsrchr(path, L'\\') = 0;
    wcscpy(wcsrchr(path, L'\\'), L"\\pyvenv.cfg");
    file = _wfopen(path, L"rb");
    if (!file) fail("no pyvenv.cfg");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "home = %4095[^\r\n]", value) == 1) {
            fclose(file);
            MultiByteToWideChar(CP_UTF8, 0, value, -1, folder, LONG);
            return;
        }
    fail("pyvenv.cfg has no home");
}

/* What follows the program's name on the command line. */
static const wchar_t *arguments(const wchar_t *line) {
    if (*line == L'"') {
        for (line++; *line && *line != L'"'; line++)
            ;
        return *line ? line + 1 : line;
    }
    while (*line && *line != L' ' && *line != L'\t') line++;
    return line;
}

static DWORD launch(void) {
    static wchar_t self[LONG], base[LONG], program[2 * LONG], line[32768];
    STARTUPINFOW startup;
    PROCESS_INFORMATION child;
    DWORD code = 101;
    GetModuleFileNameW(NULL, self, LONG);
    home(self, base);
    swprintf(program, 2 * LONG, L"%ls\\%ls", base, PROGRAM);
    swprintf(line, 32768, L"\"%ls\"%ls", program, arguments(GetCommandLineW()));
    SetEnvironmentVariableW(L"__PYVENV_LAUNCHER__", self);
    GetStartupInfoW(&startup);
    if (!CreateProcessW(program, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &child))
        fail("the base interpreter does not start");
    WaitForSingleObject(child.hProcess, INFINITE);
    GetExitCodeProcess(child.hProcess, &code);
    return code;
}

#ifdef WINDOWED
int WINAPI wWinMain(HINSTANCE self, HINSTANCE before, PWSTR line, int show) {
    (void)self, (void)before, (void)line, (void)show;
    return (int)launch();
}
#else
int wmain(void) { return (int)launch(); }
#endif
