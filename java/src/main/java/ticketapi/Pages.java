package ticketapi;

/** Shows pages with a program's browser. The library calls the methods by name; they return at once. */
final class Pages extends Asking {
    private static final int SHOWN = 1;
    private static final int CLOSE = 1;

    private final Browser browser;

    Pages(Browser browser) {
        this.browser = browser;
    }

    void open(long prompt, String address) {
        ask(prompt, () -> {
            browser.open(address);
            Native.answer(prompt, SHOWN);
        });
    }

    @Override
    void show(int message, String text) {
        if (message == CLOSE) {
            browser.close();
        }
    }
}
