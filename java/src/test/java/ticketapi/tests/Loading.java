package ticketapi.tests;

import com.gemplus.gemauth.api.GATicket;
import java.io.File;
import java.lang.reflect.InvocationTargetException;
import java.net.URL;
import java.net.URLClassLoader;
import ticketapi.TicketApi;
import ticketapi.TicketException;

/** Loads the library and prints the result. */
public final class Loading {
    private Loading() {
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            inAnotherClassLoader(new File(arguments[0]).toURI().toURL());
        } else {
            try {
                TicketApi.load();
                TicketApi.load();
            } catch (TicketException e) {
                System.out.println(Long.toHexString(e.code()) + " " + e.getMessage());
            }
        }
        System.out.println("done");
    }

    /** Both class loaders get the same ticket, because they share the library. */
    private static void inAnotherClassLoader(URL jar) throws Exception {
        GATicket first = new GATicket();
        String ticket = first.getTicket();
        for (int i = 0; i < 3; i++) {
            try (URLClassLoader loader = new URLClassLoader(new URL[] {jar}, null)) {
                Object second = loader.loadClass(GATicket.class.getName()).getConstructor().newInstance();
                Object same = second.getClass().getMethod("getTicketNoAuth").invoke(second);
                if (ticket == null || !ticket.equals(same)) {
                    throw new AssertionError("another session");
                }
            } catch (InvocationTargetException e) {
                System.out.println(e.getCause().getMessage());
            }
        }
    }
}
