/* Ends with 0 if windows can be shown. */
#include <windows.h>

int main(void)
{
    HWND window = CreateWindowW(L"STATIC", L"", WS_POPUP, 0, 0, 1, 1, NULL, NULL, NULL, NULL);
    return window == NULL || !DestroyWindow(window);
}
