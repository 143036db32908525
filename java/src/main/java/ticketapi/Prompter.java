package ticketapi;

import java.util.List;

/**
 * Asks the user during a login. A program's own is given to {@link TicketApi#setPrompter}.
 *
 * <p>Each question is asked on a daemon thread of its own, and may take as long as the user does, up to
 * the setting {@code prompt_timeout}. When that time is over, or the login is cancelled, the thread is
 * interrupted and its answer no longer counts. A question that throws fails the login. A prompter must not
 * ask for a ticket itself: that fails with {@link TicketException#BUSY}.
 *
 * <p>A Swing program shows its windows with {@code SwingUtilities.invokeAndWait}, and so does not log in on
 * the event thread.
 */
public interface Prompter {
    /**
     * Asks for the card's PIN.
     *
     * @param request what to show the user
     * @return the PIN, which is wiped after use; null if the user cancels
     * @throws Exception when the user cannot be asked
     */
    char[] pin(PinRequest request) throws Exception;

    /**
     * Asks whether to use the last try, before the PIN is asked for. A wrong PIN would lock the card.
     *
     * @param request what to show the user
     * @return true for a clear yes
     * @throws Exception when the user cannot be asked
     */
    boolean useLastTry(PinRequest request) throws Exception;

    /**
     * Asks which role to take.
     *
     * @param roles two or more
     * @return one of them; null if the user cancels
     * @throws Exception when the user cannot be asked
     */
    Role role(List<Role> roles) throws Exception;

    /**
     * Called when a login waits for a card, until {@link #cardWaitOver()}.
     *
     * @param why such as that there is no card in the reader
     */
    default void insertCard(String why) {
    }

    /** Called when the wait for a card is over. */
    default void cardWaitOver() {
    }

    /** Called when the user must enter the PIN on the reader's keys. */
    default void enterPinOnReader() {
    }
}
