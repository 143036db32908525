/* A program for role_command: chooses the last role, if its argument has arrived as one. */
#include <stdio.h>
#include <string.h>

int main(int count, char **words)
{
    static char line[4096];

    if (count != 2 || strcmp(words[1], "C:\\a b\\") != 0)
        return 3;
    while (fgets(line, sizeof line, stdin))
        ;
    printf("%s", line);
    return 0;
}
