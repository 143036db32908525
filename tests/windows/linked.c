/* A program that is linked with the import library, as new ones are, and checks the library's version resource. */
#include <windows.h>
#include <stdio.h>
#include "TicketApi.h"

int main(void)
{
    static char block[4096];
    VS_FIXEDFILEINFO *info;
    UINT size;
    char words[512] = "";

    if (!GetFileVersionInfoA("TicketApiDll.dll", 0, sizeof block, block) ||
        !VerQueryValueA(block, "\\", (void **)&info, &size)) {
        printf("no version resource\n");
        return 1;
    }
    _TcktApi_getErrorDescription(0, TCK_API_ERR_TICKET_NOT_AVAILABLE, words, sizeof words, NULL);
    printf("version %lu.%lu.%lu, of the interface %lu, %s\n", info->dwFileVersionMS >> 16, info->dwFileVersionMS & 0xffff,
           info->dwFileVersionLS >> 16, (unsigned long)TcktApi_GetGAVersion(0, GATICKET_VERSION_API), words[0] ? "with words" : "without words");
    return GetDllVersion() == 0;
}
