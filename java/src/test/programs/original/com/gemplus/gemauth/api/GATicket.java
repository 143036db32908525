package com.gemplus.gemauth.api;

import java.util.concurrent.atomic.AtomicInteger;

/** Uses the native library as the original class does, as far as that is known. */
public class GATicket {
    private static long handle;
    private static boolean initialized;

    public GATicket() throws Exception {
        synchronized (GATicket.class) {
            if (!initialized) {
                System.loadLibrary("TicketApiDll");
                handle = initialize(1);
                if (handle == 0) {
                    throw new Exception(Long.toHexString(getLastError(0)));
                }
                initialized = true;
            }
        }
    }

    public String getTicket() {
        try {
            return getTicketBuf(handle);
        } catch (Throwable e) {
            return null;
        }
    }

    public String getNewTicket() {
        try {
            return getNewTicketBuf(handle);
        } catch (Throwable e) {
            return null;
        }
    }

    public void destroyTicket() {
        try {
            destroyTicket(handle);
        } catch (Throwable e) {
            // Like the original.
        }
    }

    public long getLastError() {
        return getLastError(handle);
    }

    public String getErrorDescription(long code) {
        return getErrorDescription(handle, code);
    }

    public long getGAVersion(int which) {
        return getGAVersion(handle, which);
    }

    public long dllVersion() {
        return getDllVersion();
    }

    public void finalize() {
        finalize(handle);
        FINALIZED.incrementAndGet();
    }

    /** {@code System.runFinalization} finalizes on another thread than the JVM's finalizer. */
    public static final AtomicInteger FINALIZED = new AtomicInteger();

    private native long getDllVersion();

    private native long getGAVersion(long handle, int which);

    private native long initialize(long resourceId);

    private native String getTicketBuf(long handle);

    private native String getNewTicketBuf(long handle);

    private native int destroyTicket(long handle);

    private native long getLastError(long handle);

    private native String getErrorDescription(long handle, long code);

    private native void finalize(long handle);
}
