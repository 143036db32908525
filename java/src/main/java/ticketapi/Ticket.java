package ticketapi;

import java.util.Arrays;

/**
 * An SSO ticket. Whoever has it can act as the user: pass it only to the request that needs it, never to a log,
 * file or URL.
 *
 * <p>{@link #close()} wipes its characters; the session continues.
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
     * @return a copy, which the caller should wipe
     * @throws IllegalStateException after {@link #close()}
     */
    public synchronized char[] toCharArray() {
        check();
        return characters.clone();
    }

    /**
     * The ticket as a string, for interfaces that need one. A string cannot be wiped.
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

    /** Six of its characters, to distinguish tickets. */
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
