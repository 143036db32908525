package ticketapi;

import java.util.Arrays;

/**
 * An SSO ticket. Who holds it acts as the user: hand it to the request that it is meant for, and to no
 * log, file or URL.
 *
 * <p>Its characters are wiped by {@link #close()}; the session goes on.
 */
public final class Ticket implements AutoCloseable {
    private final char[] characters;
    private boolean closed;

    Ticket(char[] characters) {
        this.characters = characters;
    }

    /**
     * The ticket's characters.
     *
     * @return a copy, which is the caller's to wipe
     * @throws IllegalStateException after {@link #close()}
     */
    public synchronized char[] toCharArray() {
        check();
        return characters.clone();
    }

    /**
     * The ticket as a string, for what takes nothing else. A string cannot be wiped.
     *
     * @return the ticket
     * @throws IllegalStateException after {@link #close()}
     */
    public synchronized String text() {
        check();
        return new String(characters);
    }

    /** Wipes the characters. */
    @Override
    public synchronized void close() {
        Arrays.fill(characters, '\0');
        closed = true;
    }

    /** Six characters of it, to tell two tickets apart. */
    @Override
    public synchronized String toString() {
        return closed ? "…" : new String(characters, 0, Math.min(6, characters.length)) + "…";
    }

    private void check() {
        if (closed) {
            throw new IllegalStateException("the ticket has been wiped");
        }
    }
}
