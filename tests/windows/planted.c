/* A program or library in a place from which nothing may be started or loaded: leaves a trace if it is. */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

static void leave_trace(HMODULE self)
{
    FILE *trace = getenv("TEST_PLANTED") ? fopen(getenv("TEST_PLANTED"), "w") : NULL;
    char name[1024] = "";

    GetModuleFileNameA(self, name, sizeof name);
    if (trace) {
        fprintf(trace, "%s\n", name);
        fclose(trace);
    }
}

#ifdef PLANTED_PROGRAM
int main(void)
{
    leave_trace(NULL);
    return 0;
}
#else
BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, LPVOID reserved)
{
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH)
        leave_trace(instance);
    return TRUE;
}

/* An export, for programs that import something: the helper imports this from winscard.dll. */
__declspec(dllexport) LONG WINAPI SCardReleaseContext(ULONG_PTR context)
{
    return (LONG)context;
}
#endif
