/* The prompts of programs that know nothing of the library's header, and answers of a user who does what is asked. */

typedef struct {
    int (*pin)(void *, const void *, char *, unsigned int);
    int (*last_try)(void *, const void *);
    int (*role)(void *, const void *, unsigned int, unsigned int *);
    void (*message)(void *, int, const char *);
} Prompter;

static inline int allow_last_try(void *data, const void *request)
{
    (void)data, (void)request;
    return 1;
}

static inline int first_role(void *data, const void *roles, unsigned int count, unsigned int *chosen)
{
    (void)data, (void)roles, (void)count;
    *chosen = 0;
    return 0;
}

static inline void read_message(void *data, int number, const char *text)
{
    (void)data, (void)number, (void)text;
}
