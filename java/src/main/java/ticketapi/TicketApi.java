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
 * <p>All objects of a process share one session and its settings, also with {@link
 * com.gemplus.gemauth.api.GATicket} and with C code; closing an object does not end the session. All methods may
 * be called from any thread; calls that log in at the same time share one login. No thread of this class keeps the
 * JVM from exiting.
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
     * Loads the native library: from the file in the system property {@code ticketapi.library}; as {@code
     * ticketapi} or {@code TicketApiDll} from {@code java.library.path}; or the one in this jar, unpacked into the
     * folder in {@code ticketapi.unpack}, or else into {@code ticketapi} in {@code $XDG_CACHE_HOME} or {@code
     * ~/.cache}. Does nothing if it is already loaded.
     *
     * @throws TicketException if nothing could be loaded, with each place and the reason
     */
    public static void load() throws TicketException {
        NativeLoader.load();
    }

    /**
     * Sets a key of the configuration, which overrides the file and the environment. Call it before the first
     * object is opened, or when all are closed and the session has ended.
     *
     * @param key as in the configuration file
     * @param value as in the configuration file
     * @throws TicketException for an unknown key or invalid value; {@link TicketException#BUSY} if it is too late
     */
    public static void set(String key, String value) throws TicketException {
        load();
        Answer answer = new Answer();
        answer.check(Native.set(Objects.requireNonNull(key), Objects.requireNonNull(value), answer));
    }

    /**
     * Uses {@code prompter} for all later prompts of this process.
     *
     * @param prompter null for the programs in the configuration
     * @throws TicketException {@link TicketException#BUSY} during a login
     */
    public static void setPrompter(Prompter prompter) throws TicketException {
        load();
        Answer answer = new Answer();
        answer.check(Native.setPrompter(prompter == null ? null : new Prompts(prompter), answer));
    }

    /**
     * Shows the pages of all later logins of this process with {@code browser}.
     *
     * @param browser null for the browser in the configuration
     * @throws TicketException {@link TicketException#BUSY} during a login
     */
    public static void setBrowser(Browser browser) throws TicketException {
        load();
        Answer answer = new Answer();
        answer.check(Native.setBrowser(browser == null ? null : new Pages(browser), answer));
    }

    /**
     * Opens the API; the first object of a process reads the configuration.
     *
     * @return an object that should be closed
     * @throws TicketException if the configuration cannot be used
     */
    public static TicketApi open() throws TicketException {
        load();
        Answer answer = new Answer();
        long handle = Native.open(answer);
        answer.check(handle != 0);
        return new TicketApi(handle);
    }

    /**
     * Returns the current session. Logs the user in if there is none, and blocks until the user has finished.
     *
     * @return the session
     * @throws TicketException if the login fails
     */
    public Session logIn() throws TicketException {
        return session(Native.ANY);
    }

    /**
     * Does the same as {@link #logIn()}, for at most this time.
     *
     * @param atMost after this time the login is cancelled, for every call that waits for it
     * @return the session
     * @throws TicketException if the login fails; {@link TicketException#CANCELLED} after this time
     */
    public Session logIn(Duration atMost) throws TicketException {
        return within(atMost, Native.ANY);
    }

    /**
     * Logs the user in, even if there is a session. If that fails, an existing session continues.
     *
     * @return the new session
     * @throws TicketException if the login fails
     */
    public Session logInAgain() throws TicketException {
        return session(Native.NEW);
    }

    /**
     * Does the same as {@link #logInAgain()}, for at most this time.
     *
     * @param atMost as for {@link #logIn(Duration)}
     * @return the new session
     * @throws TicketException as {@link #logIn(Duration)}
     */
    public Session logInAgain(Duration atMost) throws TicketException {
        return within(atMost, Native.NEW);
    }

    /**
     * Sets who logs in, at an employer's Nuts node. A session of another employee ends, and so does a login that is
     * in progress for one.
     *
     * @param employee the employee
     * @throws TicketException for one without a name; {@link TicketException#NOT_IMPLEMENTED} with other services
     */
    public void employee(Employee employee) throws TicketException {
        Answer answer = new Answer();
        answer.check(Native.employee(handle, employee.texts(), answer));
    }

    /**
     * Signs documents with the user's card. Asks for the PIN, for this request alone; a session continues. Blocks for
     * as long as the user takes; {@link #cancel()} ends it.
     *
     * @param request what to sign, and how
     * @return the signatures, each of which was verified, and what could not be signed
     * @throws TicketException if the request is wrong, the card cannot sign, or the user gives up: nothing was signed
     */
    public Signatures sign(SignRequest request) throws TicketException {
        Answer answer = new Answer();
        answer.check(Native.sign(handle, request.texts(), request.usesLoginKey(), request.hasHashes(), request.ids(),
                request.payloads(), answer));
        return answer.signatures();
    }

    /**
     * Returns the current session. Never prompts, and uses neither card nor network.
     *
     * @return empty if no user is logged in
     * @throws TicketException if this object is closed, or the agent that the settings require cannot be used
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
     * Ends the session, here and on the broker, and cancels a login in progress.
     *
     * @throws TicketException if the broker could not be reached; the session has still ended here
     */
    public void logOut() throws TicketException {
        Answer answer = new Answer();
        answer.check(Native.logOut(handle, answer));
    }

    /**
     * Cancels the login in progress, if there is one; a session continues. For other threads than the one that
     * logs in.
     *
     * @throws TicketException if this object is closed
     */
    public void cancel() throws TicketException {
        Answer answer = new Answer();
        answer.check(Native.cancel(handle, answer));
    }

    /** Releases this object. The session continues; {@link #logOut()} ends it. */
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
                // Repeated, because the login may not have begun yet.
                while (!over.await(wait, TimeUnit.MILLISECONDS)) {
                    Native.cancel(handle, new Answer());
                    wait = CANCEL_AGAIN;
                }
            } catch (InterruptedException e) {
                // Only the host's shutdown can interrupt this.
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
