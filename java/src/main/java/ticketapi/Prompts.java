package ticketapi;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Runs a prompter's questions. The library calls the methods by name; they return at once. */
final class Prompts {
    private static final int CANCELLED = -1;
    private static final int INSERT_CARD = 1;
    private static final int PIN_ON_READER = 2;
    private static final int WAIT_IS_OVER = 3;

    private final Prompter prompter;
    private final Map<Long, Thread> asking = new ConcurrentHashMap<>();
    /** One thread, so that messages keep their order. It ends when there are none. */
    private final ThreadPoolExecutor messages =
            new ThreadPoolExecutor(1, 1, 1, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), Prompts::thread);

    Prompts(Prompter prompter) {
        this.prompter = prompter;
        messages.allowCoreThreadTimeOut(true);
    }

    void pin(long prompt, boolean lastTry, String card, String uid, int triesLeft, boolean triesLow, int shortest,
            int longest, int problem) {
        PinRequest request = new PinRequest(card, uid, triesLeft, triesLow, shortest, longest, problem);
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

    void tell(int message, String text) {
        messages.execute(() -> {
            try {
                switch (message) {
                    case INSERT_CARD:
                        prompter.insertCard(text);
                        break;
                    case WAIT_IS_OVER:
                        prompter.cardWaitOver();
                        break;
                    case PIN_ON_READER:
                        prompter.enterPinOnReader();
                        break;
                    default:
                        break;
                }
            } catch (RuntimeException e) {
                // A failed message does not fail the login.
            }
        });
    }

    /** The answer is no longer needed. */
    void abandon(long prompt) {
        Thread thread = asking.get(prompt);
        if (thread != null) {
            thread.interrupt();
        }
    }

    private interface Question {
        void ask() throws Exception;
    }

    private void ask(long prompt, Question question) {
        Thread thread = thread(() -> {
            try {
                question.ask();
            } catch (Throwable e) {
                // Its message may contain the PIN.
                Native.fail(prompt, e.getClass().getName());
            } finally {
                asking.remove(prompt);
            }
        });
        asking.put(prompt, thread);
        thread.start();
    }

    private static Thread thread(Runnable task) {
        Thread thread = new Thread(() -> {
            Native.asking();
            task.run();
        }, "ticketapi-prompt");
        thread.setDaemon(true);
        return thread;
    }
}
