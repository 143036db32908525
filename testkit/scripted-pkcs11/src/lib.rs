//! A PKCS#11 module that follows a script.
