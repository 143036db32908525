/* A program or library in a place from which nothing may be started or loaded: leaves a trace if it is. */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

static void leave_trace(void)
{
    FILE *trace = getenv("TEST_PLANTED") ? fopen(getenv("TEST_PLANTED"), "w") : NULL;
    if (trace)
        fclose(trace);
}

#ifdef PLANTED_PROGRAM
int main(void)
{
    leave_trace();
    return 0;
}
#else
BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, LPVOID reserved)
{
    (void)instance, (void)reserved;
    if (reason == DLL_PROCESS_ATTACH)
        leave_trace();
    return TRUE;
}

/* An export, for programs that import something: the helper imports this from winscard.dll. */
__declspec(dllexport) LONG WINAPI SCardReleaseContext(ULONG_PTR context)
{
    return (LONG)context;
}
#endif
