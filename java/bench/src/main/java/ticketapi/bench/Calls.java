package ticketapi.bench;

import com.gemplus.gemauth.api.GATicket;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/** What a call costs with a live session; scripts/bench-java compares it with the same call in C. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Fork(3)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class Calls {
    private GATicket api;

    @Setup
    public void logIn() throws Exception {
        api = new GATicket();
        if (api.getTicket() == null) {
            throw new IllegalStateException(api.getErrorDescription(api.getLastError()));
        }
    }

    @TearDown
    public void logOut() {
        api.destroyTicket();
    }

    @Benchmark
    public String getTicketNoAuth() {
        return api.getTicketNoAuth();
    }
}
