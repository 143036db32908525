/* Stands for a Windows that runs a session of Remote Desktop whose graphics the server's own processor makes: it is
 * known only by its protocol. */
#include <windows.h>

static unsigned short protocol = 2;

__declspec(dllexport) BOOL WINAPI WTSQuerySessionInformationW(HANDLE server, DWORD session, int kind, void **data, DWORD *length)
{
    (void)server;
    if (session != (DWORD)-1 || kind != 16)
        return FALSE;
    *data = &protocol;
    *length = sizeof protocol;
    return TRUE;
}

__declspec(dllexport) void WINAPI WTSFreeMemory(void *data)
{
    (void)data;
}
