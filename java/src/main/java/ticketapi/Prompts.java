package ticketapi;

import java.util.Arrays;
import java.util.List;

/** Runs a prompter's questions. The library calls the methods by name; they return at once. */
final class Prompts extends Asking {
    private static final int INSERT_CARD = 1;
    private static final int PIN_ON_READER = 2;
    private static final int CARD_WAIT_IS_OVER = 3;
    private static final int BROWSER_OPENED = 4;
    private static final int BROWSER_WAIT_IS_OVER = 5;

    private final Prompter prompter;

    Prompts(Prompter prompter) {
        this.prompter = prompter;
    }

    void pin(long prompt, boolean lastTry, String card, String uid, int triesLeft, boolean triesLow, int shortest,
            int longest, int problem, String purpose) {
        PinRequest request = new PinRequest(card, uid, triesLeft, triesLow, shortest, longest, problem, purpose);
        ask(prompt, () -> {
            if (lastTry) {
                Native.answer(prompt, prompter.useLastTry(request) ? 1 : CANCELLED);
                return;
            }
            char[] pin = prompter.pin(request);
            try {
                Native.answerPin(prompt, pin);
            } finally {
                if (pin != null) {
                    Arrays.fill(pin, '\0');
                }
            }
        });
    }

    void role(long prompt, String[] texts) {
        List<Role> roles = Role.read(texts, 0);
        // A role that is not in the list does not count as an answer.
        ask(prompt, () -> Native.answer(prompt, roles.indexOf(prompter.role(roles))));
    }

    @Override
    void show(int message, String text) {
        switch (message) {
            case INSERT_CARD:
                prompter.insertCard(text);
                break;
            case CARD_WAIT_IS_OVER:
                prompter.cardWaitOver();
                break;
            case PIN_ON_READER:
                prompter.enterPinOnReader();
                break;
            case BROWSER_OPENED:
                prompter.browserOpened();
                break;
            case BROWSER_WAIT_IS_OVER:
                prompter.browserWaitOver();
                break;
            default:
                break;
        }
    }
}
