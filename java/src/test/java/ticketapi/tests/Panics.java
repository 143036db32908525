package ticketapi.tests;

import com.gemplus.gemauth.api.GATicket;
import java.util.List;
import ticketapi.PinRequest;
import ticketapi.Role;
import ticketapi.TicketApi;
import ticketapi.TicketException;

/** With a library that panics on request: every native method returns an error, and the next call works. */
public final class Panics {
    private static final int ENTRY = 1;
    private static final int RETURN = 3;
    private static final long INTERNAL_ERROR = 0x8010000AL;
    private static final long NO_WAY_TO_ASK = 0x80800006L;

    private Panics() {
    }

    /** Makes the next native method panic at entry (1), in its body (2) or on return (3). */
    private static native void next(int place);

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("calls")) {
            GATicket old = new GATicket();
            check(old.getTicket() != null, "a ticket");
            try (TicketApi api = TicketApi.open()) {
                for (int place = ENTRY; place <= RETURN; place++) {
                    theOldOnes(old, place);
                    theModernOnes(api, place);
                }
            }
        } else {
            TicketApi.setPrompter(new TestUser("1234"));
            try (TicketApi api = TicketApi.open()) {
                theAnswers(api);
            }
        }
        System.out.println("done");
    }

    private interface Call {
        Object call() throws Exception;
    }

    private static void theOldOnes(GATicket old, int place) throws Exception {
        Call[] calls = {old::getTicket, old::getTicketNoAuth, old::getNewTicket};
        for (Call call : calls) {
            next(place);
            check(call.call() == null && old.getLastError() == INTERNAL_ERROR, "no ticket at " + place);
            check(call.call() != null && old.getLastError() == 0, "a ticket after " + place);
        }
        next(place);
        old.destroyTicket();
        check(old.getLastError() == INTERNAL_ERROR, "destroyTicket");
        check(old.getTicket() != null, "a ticket");
        next(place);
        check(old.getErrorDescription(0).isEmpty() && old.getLastError() == INTERNAL_ERROR, "getErrorDescription");
        check(!old.getErrorDescription(INTERNAL_ERROR).isEmpty(), "and again");
        next(place);
        check(old.getGAVersion(1) == 0 && old.getLastError() == INTERNAL_ERROR && old.getGAVersion(1) != 0, "getGAVersion");
        check(old.getTicket() != null, "a ticket");
        next(place);
        check(old.getLastError() == INTERNAL_ERROR && old.getLastError() == 0, "getLastError");
    }

    private static void theModernOnes(TicketApi api, int place) throws Exception {
        Call[] calls = {
            () -> api.session().get(), api::logIn, api::logInAgain, TicketApi::open,
            () -> {
                api.cancel();
                return null;
            },
            () -> {
                api.logOut();
                return null;
            },
        };
        for (Call call : calls) {
            next(place);
            fails(INTERNAL_ERROR, call);
            api.logIn();
            call.call();
        }
        next(place);
        fails(INTERNAL_ERROR, () -> {
            TicketApi.set("role", "1");
            return null;
        });
        next(place);
        fails(INTERNAL_ERROR, () -> {
            TicketApi.setPrompter(null);
            return null;
        });
        TicketApi.setPrompter(null);
        TicketApi closing = TicketApi.open();
        next(place);
        closing.close();
    }

    /** A prompt whose answer is lost fails the login at once. */
    private static void theAnswers(TicketApi api) throws Exception {
        for (int place = ENTRY; place <= RETURN; place++) {
            int now = place;
            TicketApi.setPrompter(new TestUser("1234") {
                @Override
                public char[] pin(PinRequest asked) {
                    next(now);
                    return super.pin(asked);
                }
            });
            fails(NO_WAY_TO_ASK, api::logInAgain);
            TicketApi.setPrompter(new TestUser("1234") {
                @Override
                public Role role(List<Role> roles) {
                    next(now);
                    return super.role(roles);
                }
            });
            fails(NO_WAY_TO_ASK, api::logInAgain);
            TicketApi.setPrompter(new TestUser("1234") {
                @Override
                public char[] pin(PinRequest asked) {
                    next(now);
                    throw new IllegalStateException();
                }
            });
            fails(NO_WAY_TO_ASK, api::logInAgain);
        }
        TicketApi.setPrompter(new TestUser("1234"));
        api.logInAgain();
    }

    private static void fails(long code, Call call) throws Exception {
        try {
            call.call();
        } catch (TicketException e) {
            check(e.code() == code, "the code " + Long.toHexString(e.code()));
            return;
        }
        throw new AssertionError("it did not fail");
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
