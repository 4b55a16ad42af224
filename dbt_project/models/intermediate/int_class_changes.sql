{{ config(materialized='table') }}
-- Whose computed class differs from that of the build before. A scheme that no build had before has no moves: class_history
-- takes its first classes as they are.
with schemes_before as (
    select distinct scheme from {{ source('history', 'class_history') }}
    where valid_to is null
),

-- All classes of a person as one number, of then and of now: a day moves few people, and only their classes are looked at
-- one by one.
marked_before as (
    select customer_key, bit_xor({{ row_hash(['scheme', 'class']) }}) as mark
    from {{ source('history', 'class_history') }}
    where valid_to is null
    group by customer_key
),

-- Before the schemes, in one row: of which of them there was a class.
begun as (
    select
        {%- for scheme in class_columns() %}
        count(*) filter (where scheme = '{{ scheme }}') > 0 as has_{{ scheme }}{{ ',' if not loop.last }}
        {%- endfor %}
    from schemes_before
),

custom_classes as (
    select members.customer_key, 'custom:' || members.segment as scheme, members.class
    from {{ ref('int_custom_segment_members') }} as members
    inner join {{ ref('int_custom_segments') }} as segments on members.segment = segments.segment
    semi join schemes_before on 'custom:' || members.segment = schemes_before.scheme
),

custom_marks as (
    select customer_key, bit_xor({{ row_hash(['scheme', 'class']) }}) as mark from custom_classes
    group by customer_key
),

marked_now as (
    {%- set marks = ['coalesce(custom_marks.mark, 0)'] -%}
    {%- for scheme in class_columns() -%}
        {%- set hashed = row_hash(["'" ~ scheme ~ "'", 'classes.' ~ scheme ~ '_class']) -%}
        {%- do marks.append('case when begun.has_' ~ scheme ~ ' then ' ~ hashed ~ ' else 0 end') -%}
    {%- endfor %}
    select classes.customer_key, {{ xor_of(marks) }} as mark
    from {{ ref('int_customer_classes') }} as classes
    cross join begun
    left join custom_marks on classes.customer_key = custom_marks.customer_key
),

changed as (
    select coalesce(marked_now.customer_key, marked_before.customer_key) as customer_key
    from marked_now
    full join marked_before on marked_now.customer_key = marked_before.customer_key
    where marked_now.mark is distinct from marked_before.mark
),

open_rows as (
    select history.* from {{ source('history', 'class_history') }} as history
    semi join changed on history.customer_key = changed.customer_key
    where history.valid_to is null
),

changed_classes as (
    select classes.* from {{ ref('int_customer_classes') }} as classes
    semi join changed on classes.customer_key = changed.customer_key
),

reasons as (
    {%- for scheme in class_columns() %}
    select classes.customer_key, '{{ scheme }}' as scheme, classes.{{ scheme }}_class as class
    from changed_classes as classes
    inner join begun on begun.has_{{ scheme }}
    union all
    {%- endfor %}
    select custom_classes.* from custom_classes
    semi join changed on custom_classes.customer_key = changed.customer_key
),

moves as (
    select
        coalesce(reasons.customer_key, open_rows.customer_key) as customer_key,
        coalesce(reasons.scheme, open_rows.scheme) as scheme,
        open_rows.class as from_class,
        reasons.class as to_class,
        case when open_rows.published_from is null then open_rows.previous_class else open_rows.class end
            as published_class,
        case
            when open_rows.published_from is null or open_rows.class = open_rows.previous_class
                then open_rows.previous_since
            else open_rows.published_from
        end as published_since
    from open_rows
    full join reasons
        on open_rows.customer_key = reasons.customer_key and open_rows.scheme = reasons.scheme
    where open_rows.class is distinct from reasons.class
)

select * from moves
