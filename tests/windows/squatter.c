/* Takes the name of the agent's pipe, with the owner and the access list of its argument, and tells what is sent to it.
 * Answers with what no agent says. */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>
#include <sddl.h>

static void name_of_pipe(char *name, size_t size)
{
    char token_user[256], *sid;
    DWORD session, length;
    HANDLE token;

    if (!ProcessIdToSessionId(GetCurrentProcessId(), &session) ||
        !OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token) ||
        !GetTokenInformation(token, TokenUser, token_user, sizeof token_user, &length) ||
        !ConvertSidToStringSidA(((TOKEN_USER *)token_user)->User.Sid, &sid))
        exit(1);
    snprintf(name, size, "\\\\.\\pipe\\ticketapi-%lu-%s", session, sid);
}

static HANDLE take(const char *name, SECURITY_ATTRIBUTES *security)
{
    HANDLE pipe = CreateNamedPipeA(name, PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE | PIPE_WAIT, PIPE_UNLIMITED_INSTANCES, 1024,
                                   1024, 0, security);

    if (pipe == INVALID_HANDLE_VALUE) {
        printf("failed: %lu\n", GetLastError());
        exit(1);
    }
    printf("%s is taken\n", name);
    fflush(stdout);
    return pipe;
}

int main(int count, char **words)
{
    SECURITY_ATTRIBUTES security = {sizeof security, NULL, FALSE};
    char name[256], bytes[1024];
    HANDLE pipe;

    if (count != 2 || !ConvertStringSecurityDescriptorToSecurityDescriptorA(words[1], SDDL_REVISION_1,
                                                                            &security.lpSecurityDescriptor, NULL))
        return 1;
    name_of_pipe(name, sizeof name);
    pipe = take(name, &security);
    for (;;) {
        DWORD read = 0, written;
        HANDLE next;

        /* The last two: a program has connected, and may be gone again. */
        if (!ConnectNamedPipe(pipe, NULL) && GetLastError() != ERROR_PIPE_CONNECTED && GetLastError() != ERROR_NO_DATA)
            return 1;
        if (ReadFile(pipe, bytes, sizeof bytes, &read, NULL) && read > 0) {
            printf("received %lu bytes\n", read);
            WriteFile(pipe, "no agent says this", 18, &written, NULL);
            FlushFileBuffers(pipe);
        }
        fflush(stdout);
        /* First, so that the name is never free. */
        next = take(name, &security);
        CloseHandle(pipe);
        pipe = next;
    }
}
