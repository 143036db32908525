/* What the harness does alike on every system. */
#include "harness.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int report_to = 1;

void fail(const char *file, int line, const char *format, ...)
{
    char words[4096];
    int length = snprintf(words, sizeof words / 2, "%s:%d: ", file, line);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words + length, sizeof words / 2, format, arguments);
    va_end(arguments);
    strcat(words, "\n");
    fflush(stdout);
    if (write(report_to, words, (unsigned)strlen(words)) < 0)
        _exit(2);
    _exit(1);
}

void check(int holds, const char *what, const char *file, int line)
{
    if (!holds)
        fail(file, line, "%s does not hold (errno: %s)", what, strerror(errno));
}

void check_eq(unsigned actual, unsigned expected, const char *what, const char *file, int line)
{
    if (actual != expected)
        fail(file, line, "%s is 0x%x, not 0x%x", what, actual, expected);
}

void check_text(const char *actual, const char *expected, const char *what, const char *file, int line)
{
    if (strcmp(actual, expected) != 0)
        fail(file, line, "%s is \"%s\", not \"%s\"", what, actual, expected);
}

int scaled(int smoke)
{
    const char *percent = getenv("CHECK_SCALE");
    long count = percent ? (long)smoke * atol(percent) / 100 : smoke;
    return count < 1 ? 1 : (int)count;
}

const char *needed(const char *variable)
{
    const char *value = getenv(variable);
    if (!value)
        fail(__FILE__, __LINE__, "%s is not set: run scripts/check-c, or scripts/windows/check-c", variable);
    return value;
}

int selected(const char *name, int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++) {
        if (strstr(name, argv[i]))
            return 1;
    }
    return argc < 2;
}

int spine_requests(const char *path)
{
    char line[1024];
    int count = 0;
    FILE *log = fopen(simulator_log(), "r");
    while (log && fgets(line, sizeof line, log)) {
        if (line[0] != '#' && strstr(line, path))
            count++;
    }
    if (log)
        fclose(log);
    return count;
}

char *greeting(const char *key, char *line, size_t size)
{
    char *value = NULL;
    FILE *log = fopen(simulator_log(), "r");
    while (log && !value && fgets(line, (int)size, log)) {
        size_t length = strlen(key);
        if (strncmp(line, key, length) == 0 && line[length] == '=' && strchr(line, '\n')) {
            line[strcspn(line, "\n")] = 0;
            value = line + length + 1;
        }
    }
    if (log)
        fclose(log);
    return value;
}
