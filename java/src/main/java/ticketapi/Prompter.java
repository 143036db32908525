package ticketapi;

import java.util.List;

/**
 * Asks the user during a login. A program sets its own with {@link TicketApi#setPrompter}.
 *
 * <p>Each prompt runs on its own daemon thread, and may take as long as the user does, up to the setting {@code
 * prompt_timeout}. After that time, or if the login is cancelled, the thread is interrupted and its answer is
 * ignored. A prompt that throws fails the login. A prompter must not request a ticket: that fails with {@link
 * TicketException#BUSY}.
 *
 * <p>A Swing program shows its windows with {@code SwingUtilities.invokeAndWait}, so it must not log in on the
 * event thread.
 */
public interface Prompter {
    /**
     * Asks for the card's PIN.
     *
     * @param request what to show the user
     * @return the PIN, which is wiped after use; null if the user cancels
     * @throws Exception if the user cannot be asked
     */
    char[] pin(PinRequest request) throws Exception;

    /**
     * Asks whether to use the last try, before the PIN prompt. A wrong PIN would lock the card.
     *
     * @param request what to show the user
     * @return true for an explicit yes
     * @throws Exception if the user cannot be asked
     */
    boolean useLastTry(PinRequest request) throws Exception;

    /**
     * Asks which role to use.
     *
     * @param roles two or more
     * @return one of them; null if the user cancels
     * @throws Exception if the user cannot be asked
     */
    Role role(List<Role> roles) throws Exception;

    /**
     * Called when a login waits for a card, until {@link #cardWaitOver()}.
     *
     * @param why the reason, such as that there is no card in the reader
     */
    default void insertCard(String why) {
    }

    /** Called when the wait for a card is over. */
    default void cardWaitOver() {
    }

    /**
     * Called when a login goes on in the browser, until {@link #browserWaitOver()}. If the user gives up, call {@link
     * TicketApi#cancel()}: a page that shows an error never ends the login.
     */
    default void browserOpened() {
    }

    /** Called when the wait for the browser is over. */
    default void browserWaitOver() {
    }

    /** Called when the user must enter the PIN on the reader's keys. */
    default void enterPinOnReader() {
    }
}
