package ticketapi.tests;

import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import ticketapi.PinRequest;
import ticketapi.Prompter;
import ticketapi.Role;
import ticketapi.Session;
import ticketapi.SignRequest;
import ticketapi.Signatures;
import ticketapi.TicketApi;
import ticketapi.TicketException;

/** A program that uses the modern API, public names only. The argument names the method that it runs. */
public final class Modern {
    private static final long SERVER_BUSY = TicketException.BUSY;
    private static final long NO_WAY_TO_ASK = 0x80800006L;
    private static final long INVALID_HANDLE = 0x80100005L;
    private static final long INVALID_PARAMETER = 0x80100003L;

    private Modern() {
    }

    public static void main(String[] arguments) throws Exception {
        Modern.class.getMethod(arguments[0]).invoke(null);
        System.out.println("done");
    }

    /** A user who knows the PIN and chooses the second role. */
    private static class User implements Prompter {
        volatile int pins;
        volatile char[] given;
        volatile PinRequest request;
        volatile List<Role> offered;
        volatile Thread thread;

        @Override
        public char[] pin(PinRequest asked) throws Exception {
            pins++;
            request = asked;
            thread = Thread.currentThread();
            given = "1234".toCharArray();
            return given;
        }

        @Override
        public boolean useLastTry(PinRequest asked) {
            return false;
        }

        @Override
        public Role role(List<Role> roles) throws Exception {
            offered = roles;
            return roles.get(1);
        }
    }

    public static void documentsAreSigned() throws Exception {
        User user = new User();
        TicketApi.setPrompter(user);
        byte[] payload = "two tablets".getBytes("UTF-8");
        try (TicketApi api = TicketApi.open()) {
            Signatures signatures = api.sign(new SignRequest().title("for A. Patient").payload("a", payload).payload("b", new byte[0]));
            check(user.request.purpose().get().startsWith("sign 2 documents: for A. Patient (for "), "the purpose");
            check(signatures.failed().isEmpty() && signatures.chain().isEmpty(), "all are signed");
            check(new java.util.ArrayList<>(signatures.signatures().keySet()).equals(Arrays.asList("a", "b")), "their order");
            java.security.cert.Certificate certificate = java.security.cert.CertificateFactory.getInstance("X.509")
                    .generateCertificate(new java.io.ByteArrayInputStream(signatures.certificate()));
            java.security.Signature verifier = java.security.Signature.getInstance("SHA256withRSA");
            verifier.initVerify(certificate);
            verifier.update(payload);
            check(verifier.verify(signatures.signatures().get("a")), "the signature");
            check(Math.abs(signatures.time().getEpochSecond() - System.currentTimeMillis() / 1000) < 600, "the time");
            byte[] hash = java.security.MessageDigest.getInstance("SHA-512").digest(payload);
            signatures = api.sign(new SignRequest().algorithm(SignRequest.Algorithm.RS512).hashes().payload("a", hash));
            verifier = java.security.Signature.getInstance("SHA512withRSA");
            verifier.initVerify(certificate);
            verifier.update(payload);
            check(verifier.verify(signatures.signatures().get("a")), "the signature of a hash");
            signatures = api.sign(new SignRequest().format(SignRequest.Format.JWS).payload("a", payload));
            check(new String(signatures.signatures().get("a"), "US-ASCII").split("[.]").length == 3, "a JWS");
            check(user.pins == 3 && !api.session().isPresent(), "a PIN for each request, and no session");
        }
    }

    public static void whatWasSignedBeforeTheCardWasTakenOutIsKept() throws Exception {
        threeAreSigned(Arrays.asList("a"), Arrays.asList("b", "c"), "the card was taken out");
    }

    public static void aWrongSignatureIsNotHandedOut() throws Exception {
        threeAreSigned(Arrays.asList("a", "c"), Arrays.asList("b"), "does not match the certificate");
    }

    private static void threeAreSigned(List<String> signed, List<String> failed, String reason) throws Exception {
        User user = new User() {
            @Override
            public char[] pin(PinRequest asked) {
                pins++;
                return "735519".toCharArray();
            }
        };
        TicketApi.setPrompter(user);
        try (TicketApi api = TicketApi.open()) {
            byte[] payload = new byte[1];
            Signatures signatures = api.sign(new SignRequest().payload("a", payload).payload("b", payload).payload("c", payload));
            check(new java.util.ArrayList<>(signatures.signatures().keySet()).equals(signed), "these are signed");
            check(new java.util.ArrayList<>(signatures.failed().keySet()).equals(failed), "these are not");
            for (TicketException failure : signatures.failed().values()) {
                check(failure.getMessage().contains(reason), failure.toString());
            }
            check(signatures.certificate().length > 0 && user.pins == 1, "the signer, and one PIN");
        }
    }

    public static void aWrongRequestAsksForNoPin() throws Exception {
        User user = new User();
        TicketApi.setPrompter(user);
        try (TicketApi api = TicketApi.open()) {
            for (SignRequest request : Arrays.asList(new SignRequest(),
                    new SignRequest().payload("a", new byte[1]).payload("a", new byte[1]),
                    new SignRequest().format(SignRequest.Format.XMLDSIG).payload("a", new byte[1]),
                    new SignRequest().hashes().payload("a", new byte[1]))) {
                try {
                    api.sign(request);
                    check(false, "it is signed");
                } catch (TicketException e) {
                    check(e.code() == INVALID_PARAMETER && !e.getMessage().isEmpty(), e.toString());
                }
            }
        }
        check(user.pins == 0, "no PIN");
    }

    public static void aUserLogsIn() throws Exception {
        User user = new User();
        TicketApi.setPrompter(user);
        try (TicketApi api = TicketApi.open()) {
            check(!api.session().isPresent(), "no session yet");
            Session session = api.logIn();
            check(session.user().uid().equals("555021935107") && session.user().name().equals("TEST USER"), "the user");
            check(session.roles().size() == 3 && session.roles().equals(user.offered), "the roles");
            check(session.role().get().equals(session.roles().get(1)), "the chosen role");
            Role role = session.role().get();
            check(!role.id().isEmpty() && !role.organisation().isEmpty() && !role.type().isEmpty()
                    && !role.subType().isEmpty() && !role.name().isEmpty(), "its parts");
            check(role.toString().contains(role.organisation()) && role.toString().contains(role.organisationCode()), "its line");
            check(user.request.shortest() >= 1 && user.request.longest() >= user.request.shortest()
                    && user.request.problem() == PinRequest.Problem.FIRST && !user.request.triesLow()
                    && !user.request.card().isEmpty(), "the request");
            check(user.thread.isDaemon() && user.thread != Thread.currentThread(), "a thread of its own");
            String ticket = session.ticket().text();
            check(ticket.equals(new com.gemplus.gemauth.api.GATicket().getTicketNoAuth()), "the same with the old API");
            check(api.session().get().ticket().text().equals(ticket) && api.logIn().ticket().text().equals(ticket), "again");
            check(!session.ticket().toString().contains(ticket) && !session.toString().contains(ticket), "not shown");
            char[] copy = session.ticket().toCharArray();
            check(new String(copy).equals(ticket), "as characters");
            session.ticket().close();
            check(new String(copy).equals(ticket) && !session.ticket().toString().contains(ticket.substring(0, 6)), "wiped");
            String next = api.logInAgain().ticket().text();
            check(!next.equals(ticket) && user.pins == 2, "a new one");
            api.logOut();
            check(!api.session().isPresent(), "logged out");
            api.logOut();
        }
    }

    public static void aPinIsWipedAfterUse() throws Exception {
        User user = new User();
        TicketApi.setPrompter(user);
        try (TicketApi api = TicketApi.open()) {
            api.logIn();
            // The prompt's thread wipes it after the library has copied it.
            user.thread.join();
            check(Arrays.equals(user.given, new char[4]), "wiped");
        }
    }

    public static void aWrongPinIsAskedAgain() throws Exception {
        User user = new User() {
            @Override
            public char[] pin(PinRequest asked) throws Exception {
                char[] right = super.pin(asked);
                return pins == 1 ? "9999".toCharArray() : right;
            }
        };
        TicketApi.setPrompter(user);
        try (TicketApi api = TicketApi.open()) {
            api.logIn();
            check(user.pins == 2 && user.request.problem() == PinRequest.Problem.WRONG, "twice");
        }
    }

    public static void aUserWhoGivesUpCancels() throws Exception {
        failsWith(TicketException.CANCELLED, new User() {
            @Override
            public char[] pin(PinRequest asked) {
                return null;
            }
        });
        TicketException failure = failsWith(TicketException.CANCELLED, new User() {
            @Override
            public Role role(List<Role> roles) {
                return null;
            }
        });
        check(failure.stage().get().equals("role selection") && failure.remedy().isPresent()
                && !failure.triesLeft().isPresent(), "stage and remedy");
        check(failure.getMessage().startsWith("0x80400001: role selection: "), "the message");
    }

    public static void aPrompterThatThrowsFailsTheLogin() throws Exception {
        TicketException failure = failsWith(NO_WAY_TO_ASK, new User() {
            @Override
            public char[] pin(PinRequest asked) {
                throw new IllegalStateException("the PIN is 1234");
            }
        });
        check(failure.detail().contains("IllegalStateException") && !failure.getMessage().contains("1234"), failure.detail());
        failsWith(NO_WAY_TO_ASK, new User() {
            @Override
            public Role role(List<Role> roles) {
                throw new StackOverflowError();
            }
        });
        failsWith(NO_WAY_TO_ASK, new User() {
            @Override
            public char[] pin(PinRequest asked) {
                return new char[257];
            }
        });
        failsWith(NO_WAY_TO_ASK, new User() {
            @Override
            public char[] pin(PinRequest asked) {
                return new char[] {'\ud800', '1', '2', '3'};
            }
        });
        TicketApi.setPrompter(new User());
        try (TicketApi api = TicketApi.open()) {
            api.logIn();
        }
    }

    /** Needs prompt_timeout to be a second. */
    public static void aPrompterThatBlocksIsAbandoned() throws Exception {
        CountDownLatch interrupted = new CountDownLatch(1);
        TicketException failure = failsWith(TicketException.CANCELLED, new User() {
            @Override
            public char[] pin(PinRequest asked) throws Exception {
                try {
                    new CountDownLatch(1).await();
                } catch (InterruptedException e) {
                    interrupted.countDown();
                }
                while (true) {
                    // It ignores being interrupted, too.
                    Thread.sleep(1000);
                }
            }
        });
        check(failure.detail().contains("in time"), failure.detail());
        interrupted.await();
        TicketApi.setPrompter(new User());
        try (TicketApi api = TicketApi.open()) {
            api.logIn();
        }
        // The JVM ends although that prompt continues.
    }

    public static void aPromptThatAsksForATicketIsRefused() throws Exception {
        AtomicReference<String> said = new AtomicReference<>();
        User user = new User() {
            @Override
            public char[] pin(PinRequest asked) throws Exception {
                com.gemplus.gemauth.api.GATicket old = new com.gemplus.gemauth.api.GATicket();
                String ticket = old.getTicket();
                long code = old.getLastError();
                String newTicket = old.getNewTicket();
                try (TicketApi api = TicketApi.open()) {
                    check(!api.session().isPresent(), "asking for the session is fine");
                    api.logIn();
                } catch (TicketException e) {
                    said.set(ticket + " " + newTicket + " " + Long.toHexString(code) + " " + Long.toHexString(e.code()));
                }
                return super.pin(asked);
            }
        };
        TicketApi.setPrompter(user);
        try (TicketApi api = TicketApi.open()) {
            api.logIn();
        }
        check("null null 80100006 80100006".equals(said.get()), "refused: " + said.get());
    }

    public static void aDeadlineEndsALogin() throws Exception {
        User user = new User() {
            @Override
            public char[] pin(PinRequest asked) throws Exception {
                super.pin(asked);
                new CountDownLatch(1).await();
                return null;
            }
        };
        TicketApi.setPrompter(user);
        try (TicketApi api = TicketApi.open()) {
            code(TicketException.CANCELLED, () -> api.logIn(Duration.ofMillis(300)));
            code(TicketException.CANCELLED, () -> api.logInAgain(Duration.ZERO));
        }
        TicketApi.setPrompter(new User());
        try (TicketApi api = TicketApi.open()) {
            api.logIn(Duration.ofMinutes(5));
            api.logIn(Duration.ofMinutes(5)).ticket().close();
        }
    }

    public static void anotherThreadCancels() throws Exception {
        CountDownLatch asked = new CountDownLatch(1);
        CountDownLatch interrupted = new CountDownLatch(1);
        TicketApi.setPrompter(new User() {
            @Override
            public char[] pin(PinRequest request) throws Exception {
                asked.countDown();
                try {
                    new CountDownLatch(1).await();
                } finally {
                    interrupted.countDown();
                }
                return null;
            }
        });
        try (TicketApi api = TicketApi.open()) {
            api.cancel();
            Thread other = new Thread(() -> {
                try {
                    asked.await();
                    code(SERVER_BUSY, () -> TicketApi.setPrompter(null));
                    api.cancel();
                } catch (Exception e) {
                    throw new AssertionError(e);
                }
            });
            other.start();
            code(TicketException.CANCELLED, api::logIn);
            other.join();
            interrupted.await();
        }
    }

    public static void aClosedObjectIsRefused() throws Exception {
        TicketApi api = TicketApi.open();
        api.close();
        api.close();
        code(INVALID_HANDLE, api::logIn);
        code(INVALID_HANDLE, api::session);
        code(INVALID_HANDLE, api::logOut);
        code(INVALID_HANDLE, api::cancel);
    }

    public static void settingsAreChecked() throws Exception {
        code(TicketException.CONFIGURATION, () -> TicketApi.set("no_such_key", "1"));
        code(TicketException.CONFIGURATION, () -> TicketApi.set("digest", "md5 für Ünïcode 😀"));
        TicketApi.set("role", "no such role");
        TicketApi.setPrompter(new User());
        try (TicketApi api = TicketApi.open()) {
            code(SERVER_BUSY, () -> TicketApi.set("digest", "sha256"));
            code(0x80400004L, api::logIn);
        }
    }

    /** Needs a card that the next wrong PIN locks. */
    public static void aLockedPinIsReportedWithNoTriesLeft() throws Exception {
        TicketException failure = failsWith(TicketException.PIN_BLOCKED, new User());
        check(failure.triesLeft().getAsInt() == 0 && failure.remedy().get().contains("unlock"), failure.getMessage());
    }

    /** Needs a token other than the one that the settings name. */
    public static void theLoginWaitsForACard() throws Exception {
        CountDownLatch over = new CountDownLatch(1);
        StringBuffer told = new StringBuffer();
        TicketApi.setPrompter(new User() {
            @Override
            public void insertCard(String why) {
                told.append("insert ");
                throw new IllegalStateException(why);
            }

            @Override
            public void cardWaitOver() {
                told.append("over");
                over.countDown();
            }
        });
        try (TicketApi api = TicketApi.open()) {
            code(0x80400003L, api::logIn);
        }
        over.await();
        check(told.toString().equals("insert over"), told.toString());
    }

    private static TicketException failsWith(long code, Prompter prompter) throws Exception {
        TicketApi.setPrompter(prompter);
        try (TicketApi api = TicketApi.open()) {
            return code(code, api::logIn);
        }
    }

    private interface Call {
        void call() throws Exception;
    }

    private static TicketException code(long code, Call call) throws Exception {
        try {
            call.call();
        } catch (TicketException e) {
            if (e.code() != code) {
                throw e;
            }
            return e;
        }
        throw new AssertionError("it did not fail");
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
