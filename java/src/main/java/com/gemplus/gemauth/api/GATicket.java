package com.gemplus.gemauth.api;

import java.nio.charset.StandardCharsets;

import ticketapi.TicketApi;
import ticketapi.TicketException;

/**
 * The Ticket API as Java programs have used it since 2004. New programs use {@link TicketApi}, which shares its
 * session with this class.
 *
 * <p>Methods return null or 0 on failure and never throw; {@link #getLastError()} then returns the code of this
 * thread's last call. All methods may be called from any thread. Calls for a ticket during a login wait for that
 * login and share its result.
 */
public class GATicket {
    /** The name of the original's native library. */
    public static final String LIBRARY_NAME = "TicketApiDll";

    /**
     * The call succeeded. The constants from here on are those of 2004; the library returns newer codes, see {@link
     * TicketException}.
     */
    public static final int TCK_API_SUCCESS = 0;
    /** A code of 2004. */
    public static final int TCK_API_ERR_INTERNAL = 1;
    /** A code of 2004. */
    public static final int TCK_API_NOTINSTALLED = 2;
    /** A code of 2004. */
    public static final int TCK_API_NOTINITIALIZED = 3;
    /** A code of 2004. */
    public static final int TCK_API_BUFFER_TO_SMALL = 4;
    /** A code of 2004. */
    public static final int TCK_API_NOSERVERFOUND = 5;
    /** A code of 2004. */
    public static final int TCK_API_VERSIONCONFLICT = 6;
    /** A code of 2004. */
    public static final int TCK_API_INVALID_INSTANCE_HANDLE = 7;
    /** A code of 2004. */
    public static final int TCK_API_USER_ABORT = 8;
    /** A code of 2004. */
    public static final int TCK_API_AUTHENTICATION_FAILED = 9;
    /** A code of 2004. */
    public static final int TCK_API_AUTHENTICATION_NOT_POSSIBLE = 0xa;
    /** A code of 2004. */
    public static final int TCK_API_INTERNAL_ERROR = 0x100;

    /** Enough for the tickets that brokers issue; longer ones need a second call. */
    private static final int USUAL_TICKET = 128;

    /** Shared by all objects, for the life of the JVM; 0 before the first one. */
    private static volatile long handle;

    private volatile boolean debug;

    /**
     * Loads the native library and initializes it, once for all objects.
     *
     * @throws Exception if that fails; the message contains the code in hexadecimal and what happened
     */
    public GATicket() throws Exception {
        TicketApi.load();
        synchronized (GATicket.class) {
            if (handle == 0) {
                long made = initialize(1);
                if (made == 0) {
                    long code = getLastError(0);
                    throw new TicketException(code, null, getErrorDescription(0, code), null, -1);
                }
                handle = made;
            }
        }
    }

    /**
     * Returns the session's ticket. Logs the user in if there is no session, and blocks until the user has
     * finished.
     *
     * @return the ticket; null on failure
     */
    public String getTicket() {
        return said("getTicket", getTicketBuf(handle));
    }

    /**
     * Returns the session's ticket. Never prompts, and uses neither card nor network.
     *
     * @return the ticket; null if there is no session
     */
    public String getTicketNoAuth() {
        byte[] buffer = new byte[USUAL_TICKET];
        int length = ticketNoAuth(handle, buffer);
        while (length > buffer.length) {
            buffer = new byte[length];
            length = ticketNoAuth(handle, buffer);
        }
        String ticket = length < 0 ? null : new String(buffer, 0, length, StandardCharsets.UTF_8);
        return debug ? said("getTicketNoAuth", ticket) : ticket;
    }

    /**
     * Logs the user in again. If that fails, an existing session continues.
     *
     * @return the new ticket; null on failure
     */
    public String getNewTicket() {
        return said("getNewTicket", getNewTicketBuf(handle));
    }

    /** Ends the session for all objects, and cancels a login in progress. */
    public void destroyTicket() {
        int code = destroyTicket(handle);
        say("destroyTicket", code);
    }

    /**
     * Returns the code of this thread's last call. Successful calls that return errors, descriptions or versions
     * do not change it.
     *
     * @return 0 to 2^32-1; 0 is success
     */
    public long getLastError() {
        return getLastError(handle);
    }

    /**
     * Returns the description of a code, with what happened if it is this thread's last error. Never contains a
     * PIN or a ticket.
     *
     * @param code the code, also as an {@code int} that has become negative
     * @return the description; "" if there is none
     */
    public String getErrorDescription(long code) {
        String words = getErrorDescription(handle, code);
        return words == null ? "" : words;
    }

    /**
     * Returns a version, as 0xMMmmpppp (major, minor, patch).
     *
     * @param which 0 is the API, 1 the engine behind it
     * @return the version; 0 on failure
     */
    public long getGAVersion(int which) {
        return getGAVersion(handle, which);
    }

    /**
     * Makes each call of this object print its result to standard output. Tickets are never shown.
     *
     * @param isDebug whether to print
     */
    public void setIsDebug(boolean isDebug) {
        debug = isDebug;
    }

    /** Does nothing: the native resources are shared by all objects, and live as long as the JVM. */
    @Override
    public void finalize() {
    }

    private String said(String call, String ticket) {
        if (debug) {
            say(call, ticket == null ? getLastError(handle) : 0);
        }
        return ticket;
    }

    private void say(String call, long code) {
        if (debug) {
            System.out.println("GATicket." + call + ": " + (code == 0 ? "done" : "0x" + Integer.toHexString((int) code)));
        }
    }

    private native long getGAVersion(long handle, int which);

    private native long initialize(long resourceId);

    private native String getTicketBuf(long handle);

    private native String getNewTicketBuf(long handle);

    private static native int ticketNoAuth(long handle, byte[] buffer);

    private native int destroyTicket(long handle);

    private native long getLastError(long handle);

    private native String getErrorDescription(long handle, long code);
}
