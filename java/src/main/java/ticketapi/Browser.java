package ticketapi;

/**
 * Shows the pages on which users log in, such as in a window or a frame of the program. A program sets its own with
 * {@link TicketApi#setBrowser}. Logins with a card at the SSB have no pages.
 *
 * <p>Each method runs on a daemon thread. It must not request a ticket: that fails with {@link
 * TicketException#BUSY}. A Swing program shows its window with {@code SwingUtilities.invokeAndWait}, so it must not log
 * in on the event thread.
 */
public interface Browser {
    /**
     * Shows a page, and returns without waiting for the user. If the user closes it, call {@link TicketApi#cancel()}.
     * If the login is cancelled meanwhile, the thread is interrupted.
     *
     * @param address the page's address. It holds no secret, but it is for one login. The page may lead to others, at
     *        last to one on this computer; whatever it shows, the login goes on until it ends or is cancelled
     * @throws Exception if it cannot be shown, which fails the login
     */
    void open(String address) throws Exception;

    /** Called when the login has ended, however: the page may go away. */
    default void close() {
    }
}
