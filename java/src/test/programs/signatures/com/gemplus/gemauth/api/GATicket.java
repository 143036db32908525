package com.gemplus.gemauth.api;

/** The public signatures that callers were compiled against, and nothing else. */
public class GATicket {
    public static final String LIBRARY_NAME = "TicketApiDll";
    public static final int TCK_API_SUCCESS = 0;
    public static final int TCK_API_ERR_INTERNAL = 1;
    public static final int TCK_API_NOTINSTALLED = 2;
    public static final int TCK_API_NOTINITIALIZED = 3;
    public static final int TCK_API_BUFFER_TO_SMALL = 4;
    public static final int TCK_API_NOSERVERFOUND = 5;
    public static final int TCK_API_VERSIONCONFLICT = 6;
    public static final int TCK_API_INVALID_INSTANCE_HANDLE = 7;
    public static final int TCK_API_USER_ABORT = 8;
    public static final int TCK_API_AUTHENTICATION_FAILED = 9;
    public static final int TCK_API_AUTHENTICATION_NOT_POSSIBLE = 0xa;
    public static final int TCK_API_INTERNAL_ERROR = 0x100;

    public GATicket() throws Exception {
    }

    public String getTicket() {
        return null;
    }

    public String getTicketNoAuth() {
        return null;
    }

    public String getNewTicket() {
        return null;
    }

    public void destroyTicket() {
    }

    public long getLastError() {
        return 0;
    }

    public String getErrorDescription(long code) {
        return null;
    }

    public long getGAVersion(int which) {
        return 0;
    }

    public void setIsDebug(boolean isDebug) {
    }

    public void finalize() {
    }
}
