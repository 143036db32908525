package ticketapi.tests;

import java.util.List;
import ticketapi.PinRequest;
import ticketapi.Prompter;
import ticketapi.Role;

/** Takes the first role. */
class TestUser implements Prompter {
    private final String pin;

    /** {@code null} is a user who logs in in the browser. */
    TestUser(String pin) {
        this.pin = pin;
    }

    @Override
    public char[] pin(PinRequest asked) {
        return pin == null ? null : pin.toCharArray();
    }

    @Override
    public boolean useLastTry(PinRequest asked) {
        return false;
    }

    @Override
    public Role role(List<Role> roles) {
        return roles.get(0);
    }
}
