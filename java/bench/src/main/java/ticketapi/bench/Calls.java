package ticketapi.bench;

import com.gemplus.gemauth.api.GATicket;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/** Measures a call with a session, from Java and from C; scripts/bench-java compares the two. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Fork(3)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class Calls {
    private static final int CALLS = 1000;

    private GATicket api;

    @Setup
    public void logIn() throws Exception {
        api = new GATicket();
        System.load(System.getProperty("calls"));
        if (api.getTicket() == null) {
            throw new IllegalStateException(api.getErrorDescription(api.getLastError()));
        }
    }

    @TearDown
    public void logOut() {
        api.destroyTicket();
    }

    @Benchmark
    public String inJava() {
        return api.getTicketNoAuth();
    }

    @Benchmark
    @OperationsPerInvocation(CALLS)
    public int inC() {
        int failed = inC(CALLS);
        if (failed != 0) {
            throw new IllegalStateException(Integer.toHexString(failed));
        }
        return failed;
    }

    private static native int inC(int calls);
}
