/* Uses a dialog as a user does who has only a keyboard. The first argument is its title; those that follow are done in
 * order:
 *
 *     see=TEXT    waits until the dialog is in front and one of its controls has this text in it
 *     type=KEYS   presses keys: characters, and {Enter} {Esc} {Tab} {Down} {Back} {Caps}
 *     gone        waits until the dialog is closed
 *     kill        ends the dialog's process
 *     where       prints its place on the screen, as ImageMagick understands it
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

/* Ends each wait, in milliseconds. */
#define PATIENCE 60000

static const char *title, *sought;
static HWND dialog;
static int seen;
static char all[8192];

static BOOL CALLBACK look(HWND window, LPARAM data)
{
    char text[1024] = "";
    (void)data;
    SendMessageTimeoutA(window, WM_GETTEXT, sizeof text, (LPARAM)text, SMTO_ABORTIFHUNG, 2000, NULL);
    if (!IsWindowVisible(window))
        return TRUE;
    if (strlen(all) + strlen(text) + 3 < sizeof all)
        strcat(strcat(all, text), " | ");
    seen |= strstr(text, sought) != NULL;
    return TRUE;
}

static int is_ready(void)
{
    all[0] = 0;
    dialog = FindWindowA("#32770", title);
    seen = 0;
    if (!dialog || !IsWindowVisible(dialog) || GetForegroundWindow() != dialog)
        return 0;
    EnumChildWindows(dialog, look, 0);
    return seen;
}

static int is_gone(void)
{
    return dialog ? !IsWindow(dialog) : !FindWindowA("#32770", title);
}

static int await(int (*condition)(void))
{
    DWORD start = GetTickCount();
    while (!condition()) {
        if (GetTickCount() - start > PATIENCE)
            return 0;
        Sleep(20);
    }
    return 1;
}

static void press(WORD key, int up)
{
    INPUT input = {.type = INPUT_KEYBOARD};
    input.ki.wVk = key;
    input.ki.dwFlags = up ? KEYEVENTF_KEYUP : 0;
    SendInput(1, &input, sizeof input);
}

static void strike(WORD key, int shift)
{
    if (shift)
        press(VK_SHIFT, 0);
    press(key, 0);
    press(key, 1);
    if (shift)
        press(VK_SHIFT, 1);
}

static void type(const char *keys)
{
    static const struct {
        const char *name;
        WORD key;
    } named[] = {{"{Enter}", VK_RETURN}, {"{Esc}", VK_ESCAPE}, {"{Tab}", VK_TAB}, {"{Down}", VK_DOWN}, {"{Caps}", VK_CAPITAL}, {"{Back}", VK_BACK}};
    while (*keys) {
        size_t index = 0;
        while (index < sizeof named / sizeof *named && strncmp(keys, named[index].name, strlen(named[index].name)) != 0)
            index++;
        if (index < sizeof named / sizeof *named) {
            strike(named[index].key, 0);
            keys += strlen(named[index].name);
        } else {
            SHORT key = VkKeyScanA(*keys);
            strike(key & 0xff, key & 0x100);
            keys++;
        }
    }
}

static void kill_owner(void)
{
    DWORD id = 0;
    HANDLE process;
    GetWindowThreadProcessId(dialog, &id);
    process = OpenProcess(PROCESS_TERMINATE, FALSE, id);
    TerminateProcess(process, 3);
    CloseHandle(process);
}

static void print_place(void)
{
    RECT area;
    GetWindowRect(dialog, &area);
    printf("%ldx%ld+%ld+%ld\n", area.right - area.left, area.bottom - area.top, area.left, area.top);
}

int main(int count, char **words)
{
    int index;
    if (count < 3)
        return 2;
    title = words[1];
    for (index = 2; index < count; index++) {
        const char *word = words[index];
        int done = 1;
        if (strncmp(word, "see=", 4) == 0) {
            sought = word + 4;
            done = await(is_ready);
        } else if (strncmp(word, "type=", 5) == 0)
            type(word + 5);
        else if (strcmp(word, "gone") == 0)
            done = await(is_gone);
        else if (strcmp(word, "kill") == 0)
            kill_owner();
        else if (strcmp(word, "where") == 0)
            print_place();
        else
            return 2;
        if (!done) {
            printf("failed: %s; dialog %p, in front %p, its texts: %s\n", word, (void *)dialog, (void *)GetForegroundWindow(), all);
            return 1;
        }
    }
    return 0;
}
