/* Adds the certificate in the file given as argument, in DER, to those that the user trusts. Windows would ask the user
 * whether that is meant; Wine does not. */
#include <stdio.h>
#include <windows.h>
#include <wincrypt.h>

int main(int argc, char **argv)
{
    static BYTE der[16384];
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    DWORD length = file ? (DWORD)fread(der, 1, sizeof der, file) : 0;
    HCERTSTORE store = CertOpenSystemStoreW(0, L"ROOT");

    if (!length || !store ||
        !CertAddEncodedCertificateToStore(store, X509_ASN_ENCODING, der, length, CERT_STORE_ADD_REPLACE_EXISTING,
                                          NULL) ||
        !CertCloseStore(store, 0)) {
        printf("failed: 0x%lx\n", GetLastError());
        return 1;
    }
    printf("added\n");
    return 0;
}
