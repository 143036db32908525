package ticketapi.tests;

import java.util.List;
import ticketapi.PinRequest;
import ticketapi.Prompter;
import ticketapi.Role;

/** Logs in in the browser, and is asked for no PIN. */
class BrowserUser implements Prompter {
    @Override
    public char[] pin(PinRequest asked) {
        return null;
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
