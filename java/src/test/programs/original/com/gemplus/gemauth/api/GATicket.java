package com.gemplus.gemauth.api;

import java.util.concurrent.atomic.AtomicInteger;

/** As the original class uses the native library, written from what is known of it. */
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
            // As the original does.
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

    /** {@code System.runFinalization} finalizes on a thread of its own beside the JVM's. */
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
