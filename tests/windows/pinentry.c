/* A pinentry program whose user enters the PIN of TEST_PIN at once. Each line that it prints to the file PINENTRY_LOG is
 * a PIN that was asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <io.h>

int main(void)
{
    char line[4096];

    _setmode(_fileno(stdout), _O_BINARY);
    printf("OK ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "GETPIN", 6) == 0) {
            FILE *log = fopen(getenv("PINENTRY_LOG"), "a");
            if (log) {
                fprintf(log, "asked\n");
                fclose(log);
            }
            printf("D %s\n", getenv("TEST_PIN"));
        }
        printf("OK\n");
        fflush(stdout);
        if (strncmp(line, "BYE", 3) == 0)
            break;
    }
    return 0;
}
