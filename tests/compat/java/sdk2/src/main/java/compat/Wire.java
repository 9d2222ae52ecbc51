package compat;

import java.util.Map;
import java.util.TreeMap;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.core.interceptor.SdkExecutionAttribute;

/** Counts what went over the wire: operation, the request's content type, the reply's. */
final class Wire implements ExecutionInterceptor {
    static final String CBOR = "application/x-amz-cbor-1.1";

    private final Map<String, Integer> seen = new TreeMap<>();

    @Override
    public void afterTransmission(Context.AfterTransmission context, ExecutionAttributes attributes) {
        String operation = attributes.getAttribute(SdkExecutionAttribute.OPERATION_NAME);
        String asked = context.httpRequest().firstMatchingHeader("Content-Type").orElse("none");
        String answered = context.httpResponse().firstMatchingHeader("Content-Type").orElse("none");
        synchronized (this) {
            seen.merge(operation + " " + asked + " " + answered, 1, Integer::sum);
        }
    }

    /** Calls by {@code operation request-type reply-type}. */
    synchronized Map<String, Integer> seen() {
        return new TreeMap<>(seen);
    }
}
