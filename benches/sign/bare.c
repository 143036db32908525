/* The floor of signing documents: the same PKCS#11 calls as the card helper's in the same order, and nothing else.
 *
 * Started with the module's path and a socket as standard input. Sends the certificate; receives a byte with the
 * PIN's length, the PIN, a byte with the number of hashes, and these as DigestInfo of SHA-256; sends a signature for
 * each; logs out and ends.
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
enum { DIGEST_INFO = 51 };

static function_list *pkcs11;

/* A failed call ends the program, which fails the benchmark. */
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

static void receive(unsigned char *buffer, long length) {
    while (length > 0) {
        long count = read(0, buffer, length);
        if (count <= 0)
            _exit(3);
        buffer += count;
        length -= count;
    }
}

int main(int argc, char **argv) {
    void *module = argc > 1 ? dlopen(argv[1], RTLD_LAZY) : 0;
    function get_function_list = module ? (function)dlsym(module, "C_GetFunctionList") : 0;
    /* As often as the helper's two libraries ask for it. */
    for (int times = 0; times < 3; times++) {
        if (!get_function_list || get_function_list(&pkcs11) != 0)
            return 1;
    }
    struct {
        void *functions[4];
        number flags;
        void *reserved;
    } arguments = {{0}, 2, 0}; /* CKF_OS_LOCKING_OK */
    CALL(INITIALIZE, &arguments);

    number slots[16], count = 16, slot = 0;
    number info[64]; /* larger than CK_TOKEN_INFO and CK_SLOT_INFO */
    CALL(GET_SLOT_LIST, 0, (number *)0, &count);
    CALL(GET_SLOT_LIST, 0, slots, &count);
    number at = 0;
    while (!slot && at < count) {
        CALL(GET_TOKEN_INFO, slots[at], info);
        if (info[12] & 0x400) /* flags: CKF_TOKEN_INITIALIZED */
            slot = slots[at];
        at++;
    }
    CALL(OPEN_SESSION, slot, 4UL, (void *)0, (void *)0, &session); /* CKF_SERIAL_SESSION */
    number objects[10];
    if (find_class(CKO_CERTIFICATE, objects) != 1)
        return 2;
    unsigned char id[64], certificate[4096];
    attribute parts[] = {{CKA_ID, 0, 0}, {CKA_VALUE, 0, 0}};
    CALL(GET_ATTRIBUTE_VALUE, session, objects[0], parts, 2UL);
    if (parts[0].length > sizeof id || parts[1].length > sizeof certificate)
        return 2;
    parts[0].value = id;
    parts[1].value = certificate;
    CALL(GET_ATTRIBUTE_VALUE, session, objects[0], parts, 2UL);
    /* Only the certificate is visible before the login. */
    if (find_class(CKO_PRIVATE_KEY, objects) || find_class(CKO_PUBLIC_KEY, objects))
        return 2;
    CALL(GET_SLOT_INFO, slot, info);
    /* The other tokens could have a certificate, too. */
    for (; at < count; at++)
        CALL(GET_TOKEN_INFO, slots[at], info);
    if (write(0, certificate, parts[1].length) < 0)
        return 2;

    unsigned char length, pin[256], hashes, hash[256][DIGEST_INFO];
    receive(&length, 1);
    receive(pin, length);
    receive(&hashes, 1);
    receive(hash[0], (long)hashes * DIGEST_INFO);
    CALL(GET_TOKEN_INFO, slot, info);
    CALL(LOGIN, session, 1UL, pin, (number)length); /* CKU_USER */
    if (find_class(CKO_PRIVATE_KEY, objects) != 1)
        return 4;
    unsigned char modulus[512], decrypt, always;
    attribute key[] = {{CKA_ID, 0, 0}, {CKA_MODULUS, 0, 0}};
    CALL(GET_ATTRIBUTE_VALUE, session, objects[0], key, 2UL);
    if (key[0].length > sizeof id || key[1].length > sizeof modulus)
        return 4;
    key[0].value = id;
    key[1].value = modulus;
    CALL(GET_ATTRIBUTE_VALUE, session, objects[0], key, 2UL);
    attribute uses[] = {{CKA_DECRYPT, &decrypt, sizeof decrypt}, {CKA_ALWAYS_AUTHENTICATE, &always, sizeof always}};
    CALL(GET_ATTRIBUTE_VALUE, session, objects[0], uses, 2UL);
    struct {
        number mechanism;
        void *parameter;
        number length;
    } rsa_pkcs = {1, 0, 0};
    for (at = 0; at < hashes; at++) {
        unsigned char signature[512];
        number signature_length = sizeof signature;
        CALL(SIGN_INIT, session, &rsa_pkcs, objects[0]);
        CALL(SIGN, session, hash[at], (number)DIGEST_INFO, signature, &signature_length);
        if (write(0, signature, signature_length) < 0)
            return 5;
    }

    CALL(LOGOUT, session);
    CALL(CLOSE_SESSION, session);
    CALL(FINALIZE, (void *)0);
    _exit(0);
}
