/* The floor of signing documents: the same PKCS#11 calls as the card helper's in the same order, and nothing else.
 *
 * Started with the module's path and a socket as standard input. Sends the certificate; receives a byte with the
 * PIN's length, the PIN, a byte with the number of hashes, and these as DigestInfo of SHA-256; sends a signature for
 * each; logs out and ends.
 */
#include "../support/bare.h"

enum { DIGEST_INFO = 51 };

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
    load(argc, argv);
    number slots[16], count = 16, slot = 0, at = 0;
    number info[64]; /* larger than CK_TOKEN_INFO and CK_SLOT_INFO */
    CALL(GET_SLOT_LIST, 0, (number *)0, &count);
    CALL(GET_SLOT_LIST, 0, slots, &count);
    while (!slot && at < count) {
        CALL(GET_TOKEN_INFO, slots[at], info);
        if (info[12] & 0x400) /* flags: CKF_TOKEN_INITIALIZED */
            slot = slots[at];
        at++;
    }
    unsigned char certificate[4096];
    number certificate_length = read_certificate(slot, certificate, sizeof certificate);
    CALL(GET_SLOT_INFO, slot, info);
    /* The other tokens could have a certificate, too. */
    for (; at < count; at++)
        CALL(GET_TOKEN_INFO, slots[at], info);
    if (write(0, certificate, certificate_length) < 0)
        return 2;

    unsigned char length, pin[256], hashes, hash[256][DIGEST_INFO];
    receive(&length, 1);
    receive(pin, length);
    receive(&hashes, 1);
    receive(hash[0], (long)hashes * DIGEST_INFO);
    number key = log_in(slot, pin, length);
    for (at = 0; at < hashes; at++)
        sign(1, key, hash[at], DIGEST_INFO); /* CKM_RSA_PKCS */
    end();
}
