package ticketapi;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Runs what the library asks of the program's object. The library calls the methods by name; they return at once. */
abstract class Asking {
    static final int CANCELLED = -1;

    private final Map<Long, Thread> asking = new ConcurrentHashMap<>();
    /** One thread, so that messages keep their order. It ends when there are none. */
    private final ThreadPoolExecutor messages =
            new ThreadPoolExecutor(1, 1, 1, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), Asking::thread);

    Asking() {
        messages.allowCoreThreadTimeOut(true);
    }

    abstract void show(int message, String text);

    final void tell(int message, String text) {
        messages.execute(() -> {
            try {
                show(message, text);
            } catch (RuntimeException e) {
                // A failed message does not fail the login.
            }
        });
    }

    /** The answer is no longer needed. */
    final void abandon(long prompt) {
        Thread thread = asking.get(prompt);
        if (thread != null) {
            thread.interrupt();
        }
    }

    interface Question {
        void ask() throws Exception;
    }

    final void ask(long prompt, Question question) {
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
