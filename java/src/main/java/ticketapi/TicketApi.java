package ticketapi;

import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Logs users in with their smartcards and keeps their session.
 *
 * <pre>{@code
 * try (TicketApi api = TicketApi.open()) {
 *     Session session = api.logIn();
 *     request.setHeader(..., session.ticket().text());
 * }
 * }</pre>
 *
 * <p>All objects of a process share one session and its settings, also with
 * {@link com.gemplus.gemauth.api.GATicket} and with code in C; closing an object does not end the
 * session. Any thread may call at any time, threads that log in meanwhile share one login. No thread of
 * this class keeps the JVM from exiting.
 *
 * <p>Every method that fails throws a {@link TicketException}.
 */
public final class TicketApi implements AutoCloseable {
    /** In milliseconds. */
    private static final long CANCEL_AGAIN = 50;

    private final long handle;
    private boolean closed;

    private TicketApi(long handle) {
        this.handle = handle;
    }

    /**
     * Loads the native library: from the file that the system property {@code ticketapi.library} names;
     * as {@code ticketapi} or {@code TicketApiDll} from {@code java.library.path}; or the one in this jar,
     * unpacked into the folder that {@code ticketapi.unpack} names, or else into
     * {@code ticketapi} in {@code $XDG_CACHE_HOME} or {@code ~/.cache}. Does nothing when it is loaded.
     *
     * @throws TicketException when nothing could be loaded, with each place and why
     */
    public static void load() throws TicketException {
        NativeLoader.load();
    }

    /**
     * Sets a key of the configuration, before the file and the environment. To be called before the first
     * object is opened, or when all are closed and the session has ended.
     *
     * @param key as in the configuration file
     * @param value likewise
     * @throws TicketException for no such key or value; {@link TicketException#BUSY} when it is too late
     */
    public static void set(String key, String value) throws TicketException {
        load();
        Answer answer = new Answer();
        answer.check(Native.set(Objects.requireNonNull(key), Objects.requireNonNull(value), answer));
    }

    /**
     * Uses {@code prompter} for all later prompts of this process.
     *
     * @param prompter null for the programs that the configuration names
     * @throws TicketException {@link TicketException#BUSY} while a login is under way
     */
    public static void setPrompter(Prompter prompter) throws TicketException {
        load();
        Answer answer = new Answer();
        answer.check(Native.setPrompter(prompter == null ? null : new Prompts(prompter), answer));
    }

    /**
     * Opens the API; the first object of a process reads the configuration.
     *
     * @return to be closed
     * @throws TicketException for a configuration that cannot be used
     */
    public static TicketApi open() throws TicketException {
        load();
        Answer answer = new Answer();
        long handle = Native.open(answer);
        answer.check(handle != 0);
        return new TicketApi(handle);
    }

    /**
     * Returns the current session; logs the user in if there is none. Blocks for as long as the user takes.
     *
     * @return the session
     * @throws TicketException when the login fails
     */
    public Session logIn() throws TicketException {
        return session(Native.ANY);
    }

    /**
     * As {@link #logIn()}, for at most this time.
     *
     * @param atMost the login is cancelled after it, for everybody who waits for it
     * @return the session
     * @throws TicketException when the login fails; {@link TicketException#CANCELLED} when the time is over
     */
    public Session logIn(Duration atMost) throws TicketException {
        return within(atMost, Native.ANY);
    }

    /**
     * Logs the user in, session or not. When that fails, a session that was there goes on.
     *
     * @return the new session
     * @throws TicketException when the login fails
     */
    public Session logInAgain() throws TicketException {
        return session(Native.NEW);
    }

    /**
     * As {@link #logInAgain()}, for at most this time.
     *
     * @param atMost as for {@link #logIn(Duration)}
     * @return the new session
     * @throws TicketException as {@link #logIn(Duration)}
     */
    public Session logInAgain(Duration atMost) throws TicketException {
        return within(atMost, Native.NEW);
    }

    /**
     * Returns the current session. Never prompts, and uses neither card nor network.
     *
     * @return empty if no user is logged in
     * @throws TicketException when this object is closed, or the agent that the settings require cannot be used
     */
    public Optional<Session> session() throws TicketException {
        try {
            return Optional.of(session(Native.EXISTING));
        } catch (TicketException e) {
            if (e.code() == TicketException.TICKET_NOT_AVAILABLE) {
                return Optional.empty();
            }
            throw e;
        }
    }

    /**
     * Ends the session, here and on the broker, and cancels a login that is under way.
     *
     * @throws TicketException when the broker could not be told; the session is over here all the same
     */
    public void logOut() throws TicketException {
        Answer answer = new Answer();
        answer.check(Native.logOut(handle, answer));
    }

    /**
     * Cancels the login that is under way, if one is; a session goes on. Meant for another thread than the
     * one that logs in.
     *
     * @throws TicketException when this object is closed
     */
    public void cancel() throws TicketException {
        Answer answer = new Answer();
        answer.check(Native.cancel(handle, answer));
    }

    /** Gives what this object holds back. The session goes on: {@link #logOut()} ends it. */
    @Override
    public synchronized void close() {
        if (!closed) {
            closed = true;
            Native.close(handle);
        }
    }

    private Session session(int which) throws TicketException {
        Answer answer = new Answer(handle);
        answer.check(Native.session(handle, which, answer));
        return answer.session();
    }

    private Session within(Duration atMost, int which) throws TicketException {
        CountDownLatch over = new CountDownLatch(1);
        Thread watch = new Thread(() -> {
            try {
                long wait = atMost.toMillis();
                // Again and again, as the login may have not begun yet.
                while (!over.await(wait, TimeUnit.MILLISECONDS)) {
                    Native.cancel(handle, new Answer());
                    wait = CANCEL_AGAIN;
                }
            } catch (InterruptedException e) {
                // Nobody but the host's shutdown does that.
            }
        }, "ticketapi-deadline");
        watch.setDaemon(true);
        watch.start();
        try {
            return session(which);
        } finally {
            over.countDown();
        }
    }
}
