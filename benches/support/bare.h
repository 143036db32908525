/* What bare programs that sign with a token share: PKCS#11 as far as they use it, and the calls before and after the
 * signatures. Each failure ends the program, which fails the benchmark.
 */
#include <dlfcn.h>
#include <unistd.h>

typedef unsigned long number; /* CK_ULONG */

typedef struct {
    number type;
    void *value;
    number length;
} attribute; /* CK_ATTRIBUTE */

typedef number (*function)();

typedef struct {
    unsigned char version[2];
    function functions[68];
} function_list; /* CK_FUNCTION_LIST */

/* Indexes in the function list. */
enum {
    INITIALIZE = 0,
    FINALIZE = 1,
    GET_SLOT_LIST = 4,
    GET_SLOT_INFO = 5,
    GET_TOKEN_INFO = 6,
    GET_MECHANISM_LIST = 7,
    OPEN_SESSION = 12,
    CLOSE_SESSION = 13,
    LOGIN = 18,
    LOGOUT = 19,
    GET_ATTRIBUTE_VALUE = 24,
    FIND_OBJECTS_INIT = 26,
    FIND_OBJECTS = 27,
    FIND_OBJECTS_FINAL = 28,
    SIGN_INIT = 42,
    SIGN = 43,
};

enum { CKO_CERTIFICATE = 1, CKO_PUBLIC_KEY = 2, CKO_PRIVATE_KEY = 3 };
enum { CKA_CLASS = 0, CKA_VALUE = 0x11, CKA_ID = 0x102, CKA_DECRYPT = 0x105, CKA_MODULUS = 0x120, CKA_ALWAYS_AUTHENTICATE = 0x202 };

static function_list *pkcs11;

#define CALL(place, ...)                                 \
    do {                                                 \
        if (pkcs11->functions[place](__VA_ARGS__) != 0) \
            _exit(10 + (place));                         \
    } while (0)

static number session;

static number find_class(number class, number *objects) {
    attribute wanted = {CKA_CLASS, &class, sizeof class};
    number found = 0;
    CALL(FIND_OBJECTS_INIT, session, &wanted, 1UL);
    CALL(FIND_OBJECTS, session, objects, 10UL, &found);
    CALL(FIND_OBJECTS_FINAL, session);
    return found;
}

/* Loads the module that the program is started with. */
static void load(int argc, char **argv) {
    void *module = argc > 1 ? dlopen(argv[1], RTLD_LAZY) : 0;
    function get_function_list = module ? (function)dlsym(module, "C_GetFunctionList") : 0;
    /* As often as the helper's two libraries ask for it. */
    for (int times = 0; times < 3; times++) {
        if (!get_function_list || get_function_list(&pkcs11) != 0)
            _exit(1);
    }
    struct {
        void *functions[4];
        number flags;
        void *reserved;
    } arguments = {{0}, 2, 0}; /* CKF_OS_LOCKING_OK */
    CALL(INITIALIZE, &arguments);
}

/* Reads two attributes of an object, which must fit into 64 bytes and into `size`. */
static number read_attributes(number object, number other, unsigned char *value, number size) {
    unsigned char id[64];
    attribute parts[] = {{CKA_ID, 0, 0}, {other, 0, 0}};
    CALL(GET_ATTRIBUTE_VALUE, session, object, parts, 2UL);
    if (parts[0].length > sizeof id || parts[1].length > size)
        _exit(2);
    parts[0].value = id;
    parts[1].value = value;
    CALL(GET_ATTRIBUTE_VALUE, session, object, parts, 2UL);
    return parts[1].length;
}

/* Opens a session with the token, whose only visible object is a certificate. Returns the certificate's length. */
static number read_certificate(number slot, unsigned char *certificate, number size) {
    number objects[10];
    CALL(OPEN_SESSION, slot, 4UL, (void *)0, (void *)0, &session); /* CKF_SERIAL_SESSION */
    if (find_class(CKO_CERTIFICATE, objects) != 1)
        _exit(2);
    number length = read_attributes(objects[0], CKA_VALUE, certificate, size);
    if (find_class(CKO_PRIVATE_KEY, objects) || find_class(CKO_PUBLIC_KEY, objects))
        _exit(2);
    return length;
}

/* Logs in and returns the only private key. */
static number log_in(number slot, unsigned char *pin, number length) {
    number info[64], objects[10];
    CALL(GET_TOKEN_INFO, slot, info);
    CALL(LOGIN, session, 1UL, pin, length); /* CKU_USER */
    if (find_class(CKO_PRIVATE_KEY, objects) != 1)
        _exit(4);
    unsigned char modulus[512], decrypt, always;
    read_attributes(objects[0], CKA_MODULUS, modulus, sizeof modulus);
    attribute uses[] = {{CKA_DECRYPT, &decrypt, sizeof decrypt}, {CKA_ALWAYS_AUTHENTICATE, &always, sizeof always}};
    CALL(GET_ATTRIBUTE_VALUE, session, objects[0], uses, 2UL);
    return objects[0];
}

/* Signs by a mechanism without parameters, and sends the signature. */
static void sign(number type, number key, unsigned char *data, number length) {
    struct {
        number mechanism;
        void *parameter;
        number length;
    } mechanism = {type, 0, 0};
    unsigned char signature[512];
    number signature_length = sizeof signature;
    CALL(SIGN_INIT, session, &mechanism, key);
    CALL(SIGN, session, data, length, signature, &signature_length);
    if (write(0, signature, signature_length) < 0)
        _exit(5);
}

static void end(void) {
    CALL(LOGOUT, session);
    CALL(CLOSE_SESSION, session);
    CALL(FINALIZE, (void *)0);
    _exit(0);
}
