/* A library whose DllMain loads TicketApiDll.dll, under the loader's lock. */
#include <windows.h>

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, LPVOID reserved)
{
    HMODULE library;
    unsigned int (*version)(void);

    (void)instance, (void)reserved;
    if (reason != DLL_PROCESS_ATTACH)
        return TRUE;
    library = LoadLibraryA("TicketApiDll.dll");
    version = library ? (unsigned int (*)(void))(void *)GetProcAddress(library, "GetDllVersion") : NULL;
    return version && version() != 0;
}
